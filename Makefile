# Each target works alone on a fresh clone with Python 3.11 or newer: the environment is made first, and again when a
# requirement changes. make VENV=/elsewhere puts it elsewhere; make PYTHON=python3.12 chooses the Python.

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROJECTS := . $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

# "python3.12" may be a launcher for a Python that is not there, so each is asked for its version
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help install demo test check bench

help:
	@echo "make demo      generate 16 molecules with the shipped model and write a page to look at"
	@echo "make test      run the tests"
	@echo "make check     lint, formatting, types, and the rules of who imports whom"
	@echo "make bench     measure the figures of the README"
	@echo "make install   make the environment $(VENV) with the host and all plugins"

install: $(STAMP)

$(STAMP): constraints.txt $(addsuffix /pyproject.toml,$(PROJECTS))
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it with make PYTHON=…" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,check]' $(addprefix -e ./,$(filter-out .,$(PROJECTS)))
	@touch $@

demo: $(STAMP)
	@out=.demo/$$(date +%Y-%m-%d-%H%M%S) && mkdir -p .demo && \
	$(BIN)/molgen generate qm9-egnn -n 16 --out $$out && test -f $$out/report.html && echo "$(CURDIR)/$$out/report.html"

test: $(STAMP)
	$(BIN)/pytest -n auto

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest tests/test_floors.py

bench: $(STAMP)
	@set -e; for script in scripts/benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script; done
