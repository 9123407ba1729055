"""Make data/small_molecules.sdf: embed, relax with GFN2-xTB, check the bonds. Needs the extra `labels` (tblite)."""

import argparse
from pathlib import Path

import torch
from ase.optimize import BFGS
from rdkit import Chem
from rdkit.Chem import AllChem
from tblite.ase import TBLite

import molgen
from molgen.atomic import write_atomically
from molgen.data.smiles_bonds import bonds_from_smiles
from molgen.errors import InputError

# name and SMILES: H, C, N, O; 3 to 29 atoms; rings, cages, all bond orders, formal charges that cancel
MOLECULES = """
water O | carbon-dioxide O=C=O | hydrogen-cyanide C#N | ammonia N | formaldehyde C=O | acetylene C#C | methane C
methanol CO | hydrogen-peroxide OO | ethylene C=C | ketene C=C=O | methyl-isocyanide C[N+]#[C-]
diazomethane C=[N+]=[N-]
nitromethane C[N+](=O)[O-] | formic-acid OC=O | formamide NC=O | hydrazine NN | acetonitrile CC#N | ethanol CCO
dimethyl-ether COC | acetaldehyde CC=O | acetic-acid CC(=O)O | urea NC(=O)N | glycine NCC(=O)O | propane CCC
cyclopropane C1CC1 | oxirane C1CO1 | allene C=C=C | butadiene C=CC=C | propyne CC#C | acetone CC(C)=O | furan c1ccoc1
pyrrole c1cc[nH]c1 | imidazole c1c[nH]cn1 | oxazole c1cocn1 | benzene c1ccccc1 | pyridine c1ccncc1 | pyrimidine c1cncnc1
phenol Oc1ccccc1 | aniline Nc1ccccc1 | toluene Cc1ccccc1 | cyclohexane C1CCCCC1 | morpholine C1COCCN1
bicyclo[1.1.1]pentane C1C2CC1C2 | cubane C12C3C4C1C5C2C3C45 | norbornane C1CC2CCC1C2
trimethylamine-oxide C[N+](C)(C)[O-]
alanine CC(N)C(=O)O | uracil O=c1cc[nH]c(=O)[nH]1 | glycerol OCC(O)CO | beta-propiolactone O=C1CCO1
isobutane CC(C)C | hexane CCCCCC | octanol CCCCCCCCO | nonane CCCCCCCCC
"""


def main() -> None:
    """Make every molecule and write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/small_molecules.sdf"))
    parser.add_argument("--seed", type=int, default=1, help="of the embedding")
    parser.add_argument("--force", type=float, default=0.01, help="largest force that is left, in eV/Å")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    records = []
    for entry in MOLECULES.replace("\n", " | ").split("|"):
        if entry.strip():
            name, smiles = entry.split()
            records.append(relaxed(name, smiles, arguments.seed, arguments.force))
            print(f"{name}: {records[-1].GetDoubleProp('energy'):.4f} eV")
    write_atomically(arguments.out, text(records))
    print(f"{arguments.out}: {len(records)} molecules")


def relaxed(name: str, smiles: str, seed: int, force: float) -> Chem.Mol:
    """A molecule with the bonds of its SMILES at a minimum of GFN2-xTB, its energy in eV among its properties."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if AllChem.EmbedMolecule(molecule, randomSeed=seed) != 0:
        raise InputError(f"RDKit can't embed {name}", remedy="try another --seed")
    atoms = molgen.to_ase(molgen.from_rdkit(molecule))[0]
    atoms.calc = TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)
    if not BFGS(atoms, logfile=None).run(fmax=force, steps=1000):
        raise InputError(f"{name} does not relax", remedy="try another --seed")
    energy = atoms.get_potential_energy()
    atoms.calc = None
    # its graph is found anew from the geometry, so that what has reacted is refused
    bonded = bonds_from_smiles(molgen.from_ase(atoms), [smiles])
    if not bonded.bonds_known.all():
        raise InputError(f"{name} has reacted while it relaxed", remedy="leave it out")
    result = molgen.to_rdkit(bonded)[0]
    result.SetProp("_Name", name)
    result.SetProp("smiles", Chem.CanonSmiles(smiles))
    result.SetDoubleProp("energy", round(energy, 5))
    return result


def text(molecules: list[Chem.Mol]) -> str:
    """The SDF of molecules whose bonds are kekulised already."""
    parts = []
    for molecule in molecules:
        properties = "".join(f">  <{key}>\n{molecule.GetProp(key)}\n\n" for key in ("smiles", "energy"))
        parts.append(Chem.MolToMolBlock(molecule, kekulize=False) + properties + "$$$$\n")
    return "".join(parts)


if __name__ == "__main__":
    main()
