"""Small molecules of H, C, N and O, made from nothing: all small graphs, and larger ones grown at random from a seed.

Every molecule is neutral, closed-shell and of ordinary valence. Unlikely chemistry (peroxides, strained double bonds,
two heteroatoms on one saturated carbon, ...) is kept only for a share of the molecules that show it, so that a
potential has seen it without being made of it.
"""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
from rdkit import Chem, RDLogger

from organics.seeds import fraction, generator

__all__ = ["MAX_HEAVY", "molecules", "plausible"]

MAX_HEAVY: Final = 9
_EXHAUSTIVE: Final = 4  # heavy atoms up to which every graph is listed
_GROWN: Final = {5: 320, 6: 460, 7: 700, 8: 950, 9: 1600}  # heavy atoms: how many are grown
# what no rule below makes, as it has no heavy atom or charges that cancel, and what is too common to be left out
_ALWAYS: Final = (
    "[H][H]", "[C-]#[O+]", "[N-]=[N+]=O", "C=[N+]=[N-]", "C[N+](=O)[O-]", "C[N+]#[C-]", "C[N+](C)(C)[O-]",
    "O=C=O", "C=C=O", "N=C=O",
)  # fmt: skip

# pieces that are put onto an atom that has a hydrogen (two for the double-bonded ones), and how often
_PIECES: Final = {
    "C": 0.36, "N": 0.08, "O": 0.10, "=O": 0.11, "C=O": 0.04, "C#N": 0.06, "C(N)=O": 0.03, "C(O)=O": 0.03, "OC": 0.04,
    "C#C": 0.035, "C=C": 0.035, "=C": 0.02, "=N": 0.02, "=NO": 0.005, "NC": 0.02, "[N+](=O)[O-]": 0.015,
}  # fmt: skip
_CORES: Final = (
    "C1CC1", "C1CO1", "C1CN1", "C1CCC1", "C1COC1", "C1CNC1", "C1CCCC1", "C1CCOC1", "C1CCNC1", "C1CCCCC1", "C1CCOCC1",
    "C1CCNCC1", "C1=CCCC1", "c1ccccc1", "c1ccncc1", "c1cncnc1", "c1cnccn1", "c1ccnnc1", "c1ccoc1", "c1cc[nH]c1",
    "c1c[nH]cn1", "c1cn[nH]c1", "c1cocn1", "c1cnoc1", "c1nc[nH]n1", "c1nnco1", "c1nonc1", "c1ccoc1",
)  # fmt: skip
_RING_SHARES: Final = {3: 0.22, 4: 0.22, 5: 0.34, 6: 0.22}  # of the rings that are closed

# patterns that no molecule may show
_NEVER: Final = [
    Chem.MolFromSmarts(pattern)
    for pattern in (
        "[O;!+]~[O;!-]~[O]",
        "[N,O;!+;!a]-,=[N,O;!+;!a]-,=[N,O;!+;!a]",  # chains of three heteroatoms
        "[r3,r4,r5,r6]=[r3,r4,r5,r6]=[r3,r4,r5,r6]",  # cumulenes and triple bonds within small rings
        "[r3,r4,r5,r6]#[r3,r4,r5,r6]",
        "C1=CC=C1",
        "[R2;!a]=[R2;!a]",  # double bonds between ring junctions
        "[R3;!a]=*",
        "[r3;R2;!a]=*",  # Bredt
        "[r4;R2;!a]=[R]",
        "[N,O;r3]1[N,O;r3]*1",
        "[a;r3,r4]",
        "o~o",
        "[OX1]=[OX1]",  # a triplet
    )
]
# patterns of which only this share of molecules is kept
_SOMETIMES: Final = [
    (share, Chem.MolFromSmarts(pattern))
    for share, pattern in (
        (0.03, "[OX2;!a]-[OX2;!a]"),
        (0.12, "[N;!a;!+]-,=[N;!a;!+]"),
        (0.25, "[N;!a;!+]-[O;!a;!-]"),
        (0.15, "[#6X4]([NX3,OX2])([NX3,OX2])"),
        (0.30, "[#6;!a]=[#6;!a]-[OX2H,NX3H2]"),
        (0.40, "[#6]=[NX2H1]"),
        (0.15, "*=*=*"),
        (0.30, "[r3]=[r3]"),
        (0.30, "[r4]=[r4]"),
        (0.40, "[r3;R2]~[r3;R2]"),
        (0.30, "[NX3;r3;R2]"),
        (0.40, "C#CC#C"),
        (0.40, "C=[CH2].[CH2]=C"),
    )
]


def molecules(seed: int, largest: int = MAX_HEAVY) -> list[str]:
    """Canonical SMILES, each once: those of at most two heavy atoms first, then all others in an order by hash.

    A prefix of the list is a fair sample of it, and the same for the same seed.

    Args:
        seed: of the growth, of the shares that are kept, and of the order.
        largest: heavy atoms of the largest molecules; fewer give a part of the same list.
    """
    RDLogger.DisableLog("rdApp.*")
    found = {Chem.CanonSmiles(smiles) for smiles in _ALWAYS}
    found |= {smiles for smiles in _all_graphs(_EXHAUSTIVE) if plausible(smiles, seed)}
    for heavy in (size for size in _GROWN if size <= largest):
        rng = generator("growth", seed, heavy)
        grown: set[str] = set()
        while len(grown) < _GROWN[heavy]:
            smiles = _grown(rng, heavy)
            if smiles is not None and smiles not in grown and plausible(smiles, seed):
                grown.add(smiles)
        found |= grown
    found = {Chem.CanonSmiles(smiles) for smiles in found}  # RDKit's canonical form is not always one at once
    return sorted(found, key=lambda smiles: (_heavy(smiles) > 2, fraction("order", seed, smiles)))


def plausible(smiles: str, seed: int) -> bool:
    """Whether a molecule is kept; unlikely chemistry is kept for a share of the molecules, by hash.

    Args:
        smiles: canonical SMILES.
        seed: another seed keeps other molecules of the unlikely ones.
    """
    molecule = Chem.MolFromSmiles(smiles)
    if any(molecule.HasSubstructMatch(pattern) for pattern in _NEVER):
        return False
    if molecule.GetNumAtoms() <= 2:
        return True
    if molecule.GetRingInfo().NumRings() > 3:
        return False
    share = 1.0
    for part, pattern in _SOMETIMES:
        share *= part ** len(molecule.GetSubstructMatches(pattern))
    return fraction("kept", seed, smiles) < share


def _heavy(smiles: str) -> int:
    return Chem.MolFromSmiles(smiles).GetNumHeavyAtoms()


def _all_graphs(heavy: int) -> set[str]:
    """Every connected graph of up to so many atoms of C, N and O with bonds of order 1 to 3 and ordinary valence.

    Atoms are added one by one, then orders are raised and rings closed one by one, until nothing is new.
    """
    found: set[str] = set()
    frontier = {"C", "N", "O"}
    while frontier:
        found |= frontier
        following: set[str] = set()
        for smiles in frontier:
            molecule = Chem.MolFromSmiles(smiles)
            free = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetTotalNumHs() > 0]
            if molecule.GetNumAtoms() < heavy:
                made = [_added(molecule, index, piece) for index in free for piece in ("C", "N", "O")]
                following |= {smiles for smiles in made if smiles is not None}
            made = [_joined(molecule, *pair) for pair in itertools.combinations(free, 2)]
            following |= {smiles for smiles in made if smiles is not None}
        frontier = following - found
    return found


def _grown(rng: np.random.Generator, heavy: int) -> str | None:
    """A random molecule of so many heavy atoms; none where the growth came to a dead end."""
    cores = [core for core in _CORES if _heavy(core) <= heavy]
    smiles: str | None = str(rng.choice(cores)) if rng.random() < 0.55 else "C"
    pieces, weights = list(_PIECES), np.array(list(_PIECES.values()))
    for _ in range(40):
        if smiles is None:
            return None
        molecule = Chem.MolFromSmiles(smiles)
        left = heavy - molecule.GetNumAtoms()
        if left < 0:
            return None
        if left == 0:
            break
        free = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetTotalNumHs() > 0]
        if not free:
            return None
        smiles = _added(molecule, int(rng.choice(free)), str(rng.choice(pieces, p=weights / weights.sum()))) or smiles
    for _ in range(int(rng.choice(4, p=[0.40, 0.32, 0.20, 0.08]))):
        closed = _closed(rng, Chem.MolFromSmiles(smiles))
        smiles = closed or smiles
    return smiles if smiles is not None and _heavy(smiles) == heavy else None


def _closed(rng: np.random.Generator, molecule: Chem.Mol) -> str | None:
    """The molecule with one more ring or one order more, or none where the drawn kind doesn't fit."""
    free = [atom.GetIdx() for atom in molecule.GetAtoms() if atom.GetTotalNumHs() > 0 and not atom.GetIsAromatic()]
    steps = Chem.GetDistanceMatrix(molecule)
    # a bond raised makes a "ring" of two atoms
    size = 2 if rng.random() < 0.4 else int(rng.choice(list(_RING_SHARES), p=list(_RING_SHARES.values())))
    pairs = [(a, b) for a, b in itertools.combinations(free, 2) if steps[a, b] == size - 1]
    if not pairs:
        return None
    return _joined(molecule, *pairs[int(rng.integers(len(pairs)))])


def _added(molecule: Chem.Mol, index: int, piece: str) -> str | None:
    """The molecule with a piece put onto one of its atoms, or none where the valence forbids it."""
    double = piece.startswith("=")
    made = Chem.RWMol(Chem.CombineMols(molecule, Chem.MolFromSmiles(piece.lstrip("="))))
    made.AddBond(index, molecule.GetNumAtoms(), Chem.BondType.DOUBLE if double else Chem.BondType.SINGLE)
    return _canonical(made, [index])


def _joined(molecule: Chem.Mol, first: int, second: int) -> str | None:
    """The molecule with one more order between two atoms: a ring closed, or a bond raised."""
    made = Chem.RWMol(molecule)
    bond = made.GetBondBetweenAtoms(first, second)
    if bond is None:
        made.AddBond(first, second, Chem.BondType.SINGLE)
    elif bond.GetBondType() == Chem.BondType.SINGLE:
        bond.SetBondType(Chem.BondType.DOUBLE)
    elif bond.GetBondType() == Chem.BondType.DOUBLE:
        bond.SetBondType(Chem.BondType.TRIPLE)
    else:
        return None
    return _canonical(made, [first, second])


def _canonical(made: Chem.RWMol, changed: list[int]) -> str | None:
    for index in changed:
        atom = made.GetAtomWithIdx(index)
        if atom.GetNumExplicitHs() > 0:  # those of [nH], which are not counted by themselves
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)
    if Chem.SanitizeMol(made, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return None
    smiles = Chem.MolToSmiles(made, isomericSmiles=False)
    again = Chem.MolFromSmiles(smiles)
    if again is None or any(atom.GetNumRadicalElectrons() for atom in again.GetAtoms()):
        return None
    return Chem.MolToSmiles(again)
