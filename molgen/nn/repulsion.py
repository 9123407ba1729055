"""The repulsion of screened nuclei: what keeps atoms apart where no training data are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from molgen.nn.exact_tables import ExactTables

__all__ = ["REPULSION_REACH", "ScreenedRepulsion"]

_COULOMB = 14.3996454784936  # eV·Å, e²/(4πε₀)
_LENGTH = 0.8854 * 0.529177210903  # Å
_POWER = 0.23
_WEIGHTS = (0.18175, 0.50986, 0.28022, 0.02817)
_RATES = (3.19980, 0.94229, 0.40290, 0.20162)
REPULSION_REACH = 1.25
"""Of new potentials, in sums of covalent radii: past the bonds, and before second neighbours."""
_NEAREST = 1e-3  # Å; closer pairs are taken to be this far apart, so that the energy is finite


class ScreenedRepulsion(ExactTables):
    """The universal potential of Ziegler, Biersack and Littmark (1985, eq. 2-60 with table 2-2), smoothly cut off.

    A pair's energy ends, with its first five derivatives, at `reach` times the sum of the atoms' covalent radii
    (Cordero et al. 2008). Bonds vibrate about that sum, and dynamics would drift with each passage of a jump in the
    third derivative. A reach past the bonds holds them apart also where they are shorter than any in training data.

    Args:
        elements: [V] atomic numbers that occur.
        reach: where a pair's energy ends, in sums of covalent radii.

    >>> repulsion = ScreenedRepulsion([1, 6], reach=1.0)
    >>> pair = torch.tensor([0.3, 0.9], dtype=torch.float64)
    >>> [round(e, 2) for e in repulsion(pair, torch.tensor([1, 1]), torch.tensor([6, 6])).tolist()]
    [76.02, 0.02]
    """

    columns: Tensor  # [largest atomic number + 1] place of each element
    charges: Tensor  # [V] nuclear charges
    powers: Tensor  # [V] charges to the power of the screening length
    ends: Tensor  # [V] Å, each atom's part of the length where a pair's energy ends
    weights: Tensor
    rates: Tensor

    def __init__(self, elements: Sequence[int], reach: float = REPULSION_REACH) -> None:
        from ase.data import covalent_radii

        super().__init__()
        numbers = torch.tensor(list(elements), dtype=torch.float64)
        radii = torch.tensor([float(covalent_radii[number]) for number in elements], dtype=torch.float64)
        self.reach = 2 * reach * float(radii.max())  # Å, where the last pair's energy ends
        columns = torch.full((max(elements) + 1,), -1)
        columns[list(elements)] = torch.arange(len(elements))
        self.register_buffer("columns", columns, persistent=False)
        tables = {
            "charges": numbers,
            "powers": numbers**_POWER,
            "ends": reach * radii,
            "weights": torch.tensor(_WEIGHTS, dtype=torch.float64),
            "rates": torch.tensor(_RATES, dtype=torch.float64),
        }
        for name, value in tables.items():
            self.table(name, value)

    def forward(self, lengths: Tensor, species1: Tensor, species2: Tensor) -> Tensor:
        """[E] eV, the energy of each pair.

        Args:
            lengths: [E] Å.
            species1: [E] atomic numbers of one atom of each pair.
            species2: [E] of the other.
        """
        one, two = self.columns[species1], self.columns[species2]  # [E]
        r = lengths.clamp_min(_NEAREST)
        scaled = r * (self.powers[one] + self.powers[two]).to(r.dtype) / _LENGTH
        screening = torch.exp(-scaled[:, None] * self.rates.to(r.dtype)) @ self.weights.to(r.dtype)
        bare = (_COULOMB * self.charges[one] * self.charges[two]).to(r.dtype) / r
        end = (self.ends[one] + self.ends[two]).to(r.dtype)
        return bare * screening * _ending(lengths / end)


def _ending(x: Tensor) -> Tensor:
    """1 at 0 and 0 from 1 on, with five vanishing derivatives at either end.

    1 − x⁶ (462 − 1980 x + 3465 x² − 3080 x³ + 1386 x⁴ − 252 x⁵), in factors that are exact where it is small.
    """
    x = x.clamp_max(1.0)
    return (1 - x) ** 6 * (1 + x * (6 + x * (21 + x * (56 + x * (126 + x * 252)))))
