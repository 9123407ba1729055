"""PoseBusters: which molecules have a geometry and an energy that a real one could have (Buttenschoen et al. 2024).

Its mode `mol` looks at molecules on their own: sanitisation, InChI, one piece, no radicals, bond lengths and angles and
clashes by distance geometry, flat rings and double bonds, and an energy within 100 times the mean of 50 conformers. The
figures depend on its version, which `constraints.txt` pins.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from molgen.chemistry.intervals import Metric, fraction
from molgen.chemistry.perception import Perceived

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["is_installed", "passes", "plausible"]

# conformers cost about a second per molecule on one core; of 100 a fraction is known to 4 to 10 per cent
SAMPLE: Final = 100


def is_installed() -> bool:
    """Whether the package `posebusters` is there: the extra of that name brings it."""
    return find_spec("posebusters") is not None


def plausible(perceived: Sequence[Perceived]) -> Metric | None:
    """The fraction that passes every check, of 100 drawn ones if there are more; None without the package.

    Which ones are drawn depends on their number alone.
    """
    if not is_installed():
        return None
    chosen = np.random.default_rng(0).permutation(len(perceived))[:SAMPLE].tolist()
    return fraction(sum(passes([perceived[index].mol for index in chosen])), len(chosen))


def passes(mols: Sequence[Mol | None]) -> list[bool]:
    """Whether each molecule passes every check; what is no molecule, or what a check can't take, does not.

    Raises:
        ImportError: the package is missing.
    """
    from posebusters import PoseBusters
    from rdkit import rdBase

    buster = PoseBusters(config="mol")
    with rdBase.BlockLogs(), _quiet():
        return [mol is not None and _passes(buster, mol) for mol in mols]


def _passes(buster: Any, mol: Mol) -> bool:
    try:
        report = buster.bust(mol_pred=[mol])
    # force fields and conformers fail in many ways, and a molecule that can't be checked has not passed
    except Exception:
        return False
    # a check that could not be made is NaN
    return bool(report.iloc[0].fillna(False).eq(True).all())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a line for each molecule that a check could not be made of."""
    logger = logging.getLogger("posebusters")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
