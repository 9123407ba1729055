"""Score the molecules of a file, on their own or beside reference data: `python scripts/score.py FILE [REFERENCE]`."""

import argparse

import molgen
from molgen.data.readers import read

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file", help="sdf, xyz, extxyz, ASE db, npz or cache")
parser.add_argument("reference", nargs="?", help="data to compare with, such as the training data")

if __name__ == "__main__":
    arguments = parser.parse_args()
    reference = read(arguments.reference) if arguments.reference else None
    print(molgen.score(read(arguments.file), reference).table())
