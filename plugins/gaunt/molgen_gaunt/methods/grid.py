"""Values at points of an exact quadrature, by matrix products; O(l⁴) with a small constant.

Points and harmonics share a group of symmetries (see `quadrature`): each class of harmonics is transformed on its own
at one point of each orbit, and classes multiply like the elements of the group.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from molgen_gaunt.form import Form
from molgen_gaunt.harmonics import Array, components, gradients, harmonics
from molgen_gaunt.memory import Memory
from molgen_gaunt.methods.base import Jet, OnGrid
from molgen_gaunt.quadrature import SYMMETRIES, Rule, sphere_rule, symmetry_class

__all__ = ["Grid", "best_symmetry", "evened", "multiply_classes"]


class Grid(OnGrid):
    """See the module; `symmetry` is one of `quadrature.SYMMETRIES`, by default the fastest for the degrees."""

    def __init__(self, form: Form, dtype: torch.dtype, device: torch.device | str, symmetry: str | None = None) -> None:
        super().__init__(form, dtype, device)
        self.symmetry = symmetry or best_symmetry(form.degree)
        self.classes = 1 << SYMMETRIES.index(self.symmetry)
        # an odd form changes its sign under inversion once more than its arguments do
        self.shift = 1 if form.odd and self.classes > 1 else 0
        theta, phi, weight = evened(sphere_rule(form.degree, self.symmetry))
        self.points = len(theta)
        self.parts: list[list[tuple[int, int]]] = []
        for s, slot in enumerate(form.slots):
            lm = components(slot.degrees)
            group = np.array([symmetry_class(l, m, self.symmetry) for l, m in lm])
            order = np.argsort(group, kind="stable")
            self.places(s, order)
            ends = np.searchsorted(group[order], range(self.classes + 1))
            self.parts.append([(int(a), int(b)) for a, b in pairwise(ends)])
            scale = slot.scale_of_components[:, None]
            values = harmonics(slot.degrees, theta, phi) * scale
            self._add("analyse", s, (values * weight)[order], transposed=True)
            if form.odd:
                for name, table in zip(("slope", "around"), gradients(slot.degrees, theta, phi), strict=True):
                    self._add(name, s, (table * scale)[order])
            else:
                self._add("values", s, values[order])

    def _add(self, name: str, s: int, table: Array, *, transposed: bool = False) -> None:
        for c, (a, b) in enumerate(self.parts[s]):
            self.constant(f"{name}{s}_{c}", table[a:b].T if transposed else table[a:b])

    @cached_property
    def floats_per_row(self) -> int:
        """See Engine."""
        tables = 2 if self.form.odd else 1
        result = self.points * (self.classes if self.form.odd or self.classes > 2 else self.classes - 1)
        return self.channels * (2 * tables * self.points * self.classes + result + 2 * self.parts[0][-1][1])

    def synthesise(self, x: Tensor, s: int, memory: Memory, key: str, *, slopes: bool) -> Jet:
        """See OnGrid; a list of [rows, P], one per class, for each of values or derivatives."""
        packed = self.pack(x, s, memory, "packed")
        return tuple(
            [
                torch.mm(
                    memory.columns(packed, a, b),
                    self.table(f"{name}{s}_{c}"),
                    out=memory(f"{key}{name}{c}", packed.shape[0], self.points),
                )
                for c, (a, b) in enumerate(self.parts[s])
            ]
            for name in (("slope", "around") if slopes else ("values",))
        )

    def multiply(self, f: Jet, g: Jet, channels: tuple[int, int, int], memory: Memory) -> list[Tensor]:
        """See OnGrid."""
        return multiply_classes(f, g, self.shift, channels, memory)

    def analyse(self, values: list[Tensor], s: int, memory: Memory, out: Tensor | None) -> Tensor:
        """See OnGrid."""
        packed = memory("packed", values[0].shape[0], self.parts[s][-1][1])
        if packed is None:
            packed = torch.cat([v @ self.table(f"analyse{s}_{c}") for c, v in enumerate(values)], 1)
        else:
            for c, (a, b) in enumerate(self.parts[s]):
                torch.mm(values[c], self.table(f"analyse{s}_{c}"), out=memory.columns(packed, a, b))
        return self.unpack(packed, s, out)


def evened(rule: Rule) -> Rule:
    """With points of no weight, so that there are a multiple of 16 where few are missing: vector units take 16."""
    missing = -len(rule.theta) % 16
    if missing > 0.03 * len(rule.theta):
        return rule
    theta, phi = (np.concatenate([values, values[:1].repeat(missing)]) for values in (rule.theta, rule.phi))
    return Rule(theta, phi, np.concatenate([rule.weight, np.zeros(missing)]))


def multiply_classes(f: Jet, g: Jet, shift: int, channels: tuple[int, int, int], memory: Memory) -> list[Tensor]:
    """[rows, P] for each class: products of values, or brackets of derivatives, of two sets of functions.

    Args:
        f: ([rows, P] for each class,) of the values, or two such lists of the derivatives.
        g: likewise.
        shift: what a bracket adds to the class.
        channels: of f, of g and of the result, each all of them or one.
        memory: where to put the result.
    """
    classes, points = len(f[0]), f[0][0].shape[1]
    rows, C, shape = f[0][0].shape[0] // channels[0], max(channels), (points,)
    if channels == (C, C, C):
        rows *= C
    else:
        shape = (C, points)
        f, g = (
            [[v.view(rows, c, points) for v in part] for part in jet] for jet, c in zip((f, g), channels, strict=False)
        )
    if len(f) == 1 and classes <= 2:
        result = _multiply_values(f[0], g[0], memory, (rows, *shape))
        return [(h.sum(1) if channels[2] < C else h).view(-1, points) for h in result]
    terms = [(f[0], g[0], 1)] if len(f) == 1 else [(f[0], g[1], 1), (f[1], g[0], -1)]
    result = []
    for c in range(classes):
        out = memory(f"h{c}", rows, *shape)
        total = torch.mul(terms[0][0][c ^ shift], terms[0][1][0], out=out)
        for t, (a, b, sign) in enumerate(terms):
            for d in range(t == 0, classes):
                total = torch.addcmul(total, a[c ^ d ^ shift], b[d], value=sign, out=out)
        result.append(
            total.sum(1) if channels[2] < C else total.view(rows * shape[0] if len(shape) == 2 else rows, points)
        )
    return result


def _multiply_values(f: list[Tensor], g: list[Tensor], memory: Memory, shape: tuple[int, ...]) -> list[Tensor]:
    """Of one or two classes; the result may take the memory of f, which keeps more rows in the cache."""
    whole = f[0].shape == shape
    over = memory.over(f[0]) if whole else memory("h0", *shape)
    if len(f) == 1:
        return [torch.mul(f[0], g[0], out=over)]
    crossed = torch.mul(f[0], g[1], out=memory("h1", *shape))
    straight = torch.addcmul(torch.mul(f[0], g[0], out=over), f[1], g[1], out=over)
    return [straight, torch.addcmul(crossed, f[1], g[0], out=memory("h1", *shape))]


def best_symmetry(degree: int) -> str:
    """More classes save arithmetic and cost passes over memory: the fastest, as measured, for an integrand's degree."""
    return SYMMETRIES[0] if degree <= 9 else SYMMETRIES[1] if degree <= 26 else SYMMETRIES[2]
