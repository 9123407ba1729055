"""Train a model from a config, and go on with the run at the next call.

python scripts/train.py config.yaml --set training.steps=1000 --budget 20m
"""

import argparse

import molgen
from molgen.allocation import keep_freed_memory
from molgen.training import parse_override


def main() -> None:
    """Train, or go on with a run that stands in the config's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML file of the run")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the config")
    parser.add_argument("--budget", help="save and stop after so long: 20m, 8h")
    arguments = parser.parse_args()

    keep_freed_memory()
    overrides = dict(parse_override(text) for text in arguments.set)
    print(molgen.train(arguments.config, overrides=overrides, resume=True, budget=arguments.budget))


if __name__ == "__main__":
    main()
