"""From irreps to forms: which paths there are, whether the output is reached, and how it is scaled."""

from __future__ import annotations

import math

import torch
from e3nn import o3

from molgen.errors import ConfigError
from molgen_gaunt.channels import joined
from molgen_gaunt.config import GauntConfig, Parity
from molgen_gaunt.form import Form, channels_of, natural, slot_of, strengths

__all__ = ["forms_of", "paired", "read_irreps"]

# degree l₁+l₂+l₃ up to which the quadrature was measured to keep the accuracy that the tests state
_LARGEST_DEGREE = {torch.float32: 96, torch.float64: 192}


def read_irreps(irreps: o3.Irreps | str, name: str) -> o3.Irreps:
    """Irreps from what a user wrote, of at least one channel."""
    try:
        read = o3.Irreps(irreps)
    except (ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"{irreps!r} are no irreps", where=name, expected="irreps like '16x0e + 16x1o'") from error
    if read.dim == 0:
        raise ConfigError(f"{name} is empty", expected="irreps like '16x0e + 16x1o'")
    return read.remove_zero_multiplicities()


def forms_of(config: GauntConfig, irreps1: o3.Irreps, irreps2: o3.Irreps, irreps_out: o3.Irreps) -> list[Form]:
    """Every combination of natural and pseudo functions that reaches the output."""
    where = f"{irreps1} ⊗ {irreps2}"
    channels, per_side = channels_of(irreps1, irreps2)
    if max(joined(irreps_out).values()) > channels:
        raise ConfigError(
            f"irreps_out {irreps_out} has more channels than the inputs", where=where, expected=f"at most {channels}"
        )
    _check_degree(irreps1, irreps2, irreps_out)
    per_side.append(channels)
    component = config.normalization == "component"
    kinds = [(True, irreps1), (False, irreps1)], [(True, irreps2), (False, irreps2)]
    paths = _paths(irreps1, irreps2, config.parity)
    out_scale: dict[o3.Irrep, float] = {}
    for ir in joined(irreps_out):
        variance = sum(strength for target, _, _, _, strength in paths if target == ir)
        if variance == 0:
            by_odd = config.parity == "even" and any(ir == target for target, *_ in _paths(irreps1, irreps2, "full"))
            raise ConfigError(
                f"no path leads to {ir} of irreps_out",
                where=where,
                remedy="set `parity: full` for the antisymmetric paths" if by_odd else "take it out",
            )
        out_scale[ir] = 1 / math.sqrt(variance) if component else 1.0
    forms = []
    for odd in (False, True):
        for kind1, _ in kinds[0]:
            for kind2, _ in kinds[1]:
                kind3 = (kind1 == kind2) != odd
                reached = {t for t, k1, k2, o, _ in paths if (k1, k2, o) == (kind1, kind2, odd)} & set(out_scale)
                if not reached:
                    continue
                slope = {l: 1 / math.sqrt(l * (l + 1)) for l in range(1, 1000)} if odd and component else {}
                scales = [
                    slope,
                    slope,
                    {ir.l: scale for ir, scale in out_scale.items() if natural(ir.l, ir.p) == kind3},
                ]
                slots = [
                    slot_of(irreps, naturals=kind, channels=c, scale=scale)
                    for irreps, kind, c, scale in zip(
                        (irreps1, irreps2, irreps_out), (kind1, kind2, kind3), per_side, scales, strict=True
                    )
                ]
                if all(slot is not None for slot in slots):
                    forms.append(Form((slots[0], slots[1], slots[2]), odd))  # type: ignore[arg-type]
    return forms


def paired(forms: list[Form]) -> list[list[Form]]:
    """The even and the odd form of the same functions together, where there are both."""
    found: dict[tuple[bytes, ...], list[Form]] = {}
    for form in forms:
        same = tuple(slot.positions.tobytes() for slot in form.slots[:2])
        found.setdefault(same, []).append(form)
    return list(found.values())


def _paths(irreps1: o3.Irreps, irreps2: o3.Irreps, parity: Parity) -> list[tuple[o3.Irrep, bool, bool, bool, float]]:
    """(output, kind of each input, odd, variance) of every path."""
    found = []
    sides = [list(joined(irreps1)), list(joined(irreps2))]
    l_max = max(ir.l for ir in sides[0]), max(ir.l for ir in sides[1])
    for odd in (False, True) if parity == "full" else (False,):
        table = strengths((*l_max, sum(l_max)), odd=odd)
        for ir1 in sides[0]:
            for ir2 in sides[1]:
                for l3 in range(abs(ir1.l - ir2.l), ir1.l + ir2.l + 1):
                    if strength := float(table[ir1.l, ir2.l, l3]):
                        target = o3.Irrep(l3, ir1.p * ir2.p)
                        found.append((target, natural(ir1.l, ir1.p), natural(ir2.l, ir2.p), odd, strength))
    return found


def _check_degree(*sides: o3.Irreps) -> None:
    degree = sum(side.lmax for side in sides)
    largest = _LARGEST_DEGREE.get(torch.get_default_dtype())
    if largest is None:
        raise ConfigError(
            f"the default dtype is {torch.get_default_dtype()}", expected="float32 or float64 when a product is built"
        )
    if degree > largest:
        raise ConfigError(
            f"l₁ + l₂ + l₃ = {degree} is beyond what {torch.get_default_dtype()} resolves",
            where=" ⊗ ".join(str(side) for side in sides[:2]) + f" → {sides[2]}",
            expected=f"at most {largest}",
        )
