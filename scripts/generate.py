"""Molecules of a trained model, in five lines of the public API.

python scripts/generate.py qm9 16 molecules
"""

import argparse

import molgen


def main() -> None:
    """Generate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="qm9", help="a registered model's name, or the path of a file")
    parser.add_argument("n", nargs="?", type=int, default=16, help="how many molecules")
    parser.add_argument("out", nargs="?", default="out/molecules", help="folder for the results")
    arguments = parser.parse_args()

    molecules = molgen.load(arguments.model).generate(arguments.n, seed=0)
    print(*(smiles or "-" for smiles in molecules.smiles), sep="\n")
    print(molecules.metrics.table())
    print(molecules.write(arguments.out, overwrite=True) / "report.html")


if __name__ == "__main__":
    main()
