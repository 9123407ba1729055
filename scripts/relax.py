"""Relax the structures of a file with a potential.

python scripts/relax.py molecules.sdf relaxed.extxyz --model organics
"""

import argparse

import molgen

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("structures", help="sdf, xyz, extxyz, cif, POSCAR, or another format that ASE reads")
parser.add_argument("out", help="where the relaxed structures go; its suffix tells the format")
parser.add_argument("--model", default="organics", help="a registered potential's name, or the path of a file")
parser.add_argument("--fmax", type=float, default=0.01, help="eV/Å; converged where no force is larger")
parser.add_argument("--cell", action="store_true", help="relax the cells too")

if __name__ == "__main__":
    arguments = parser.parse_args()
    results = molgen.relax(arguments.structures, arguments.model, fmax=arguments.fmax, cell=arguments.cell)
    print(results.table())
    print(results.write(arguments.out, overwrite=True))
