"""Wall time of commands from the shell, beside `import torch`, the floor of whatever computes.

python scripts/benchmarks/startup.py

Each command is started a few times in turns; a first round, which fills the system's file cache, is left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import ended, in_turn, machine, parser, publish

# s, where a promise is made
_TARGETS = {"molgen plugins": 0.5, "molgen generate -n 1": 8.0}


def commands(model: str) -> dict[str, list[str]]:
    """What is started, by the name that the table shows."""
    molgen = str(Path(sys.executable).parent / "molgen")
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import molgen": [sys.executable, "-c", "import molgen"],
        "molgen --help": [molgen, "--help"],
        "molgen plugins": [molgen, "plugins"],
        "import torch": [sys.executable, "-c", "import torch"],
        "molgen generate -n 1": [molgen, "generate", model, "-n", "1", "--device", "cpu", "--overwrite", "--out"],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("startup", __doc__, repeats=7)
    options.add_argument("--model", default="qm9", help="a registered model's name, or the path of a file")
    options.add_argument("--only", nargs="+", choices=list(commands("")), help="these commands alone")
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.repeats = 1
    where = machine()
    with tempfile.TemporaryDirectory() as folder:
        chosen = {name: words for name, words in commands(arguments.model).items() if name in (arguments.only or name)}
        cases = {
            name: _starter([*words, f"{folder}/out"] if words[-1] == "--out" else words)
            for name, words in chosen.items()
        }
        if not arguments.quick:
            in_turn(cases, 1)
        timings = in_turn(cases, arguments.repeats)
    shown, results = [], []
    for name, timing in timings.items():
        target = _TARGETS.get(name)
        shown.append({"command": name, "s": timing.text(), "target s": f"≤ {target}" if target else ""})
        results.append({"command": name, "target_s": target, **timing.as_dict()})
    settings = {"repeats": arguments.repeats, "model": arguments.model}
    title = f"from the shell to the end, median (min–max) of {arguments.repeats}"
    path, quick = arguments.json, arguments.quick
    publish("startup", title, shown, settings=settings, results=results, where=where, path=path, quick=quick)


def _starter(words: Sequence[str]) -> Callable[[], None]:
    def run() -> None:
        ended_with = subprocess.run(words, stdout=subprocess.DEVNULL).returncode
        if ended_with:
            raise SystemExit(f"{' '.join(words)} ended with {ended_with}")

    return run


if __name__ == "__main__":
    raise SystemExit(ended(main))
