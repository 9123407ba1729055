"""Finds rules of quadrature on the sphere with few points, for the `grid` method of the Gaunt product.

A rule integrates every polynomial up to an even degree (and, being symmetric, the next odd one) with positive weights.
Its points come in orbits of a group of reflections; one point of each is found, by Gauss-Newton steps on the conditions
that its invariant harmonics are integrated (compare Ahrens and Beylkin 2009, Gräf and Potts 2011). It takes about
(degree + 1)²/3 points, two thirds of those of Gauss-Legendre × uniform φ.

    python scripts/make_quadrature.py plugins/gaunt/molgen_gaunt/quadrature.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from molgen_gaunt.harmonics import Array, components, gradients, harmonics
from molgen_gaunt.quadrature import SYMMETRIES


def invariant(degree: int, symmetry: str) -> Array:
    """Indices of the harmonics up to `degree` that the group leaves as they are."""
    half_turn = symmetry == "inversion-half-turn"
    lm = components(range(degree + 1))
    return np.array([i for i, (l, m) in enumerate(lm) if l % 2 == 0 and not (half_turn and m % 2)])


def start(points: int, symmetry: str, rng: np.random.Generator) -> Array:
    """[3, points] θ, φ and weights, spread over a fundamental domain along a spiral, with noise."""
    i = np.arange(points) + 0.5
    cosine = np.clip(i / points + rng.normal(size=points) * 0.2 / np.sqrt(points), 0.01, 0.99)
    turn = np.pi if symmetry == "inversion-half-turn" else 2 * np.pi
    phi = (i * np.pi * (3 - np.sqrt(5)) + rng.uniform(0, turn)) % turn + rng.normal(size=points) * 0.3 / np.sqrt(points)
    return np.stack([np.arccos(cosine), phi, np.full(points, 4 * np.pi / points)])


def refine(rule: Array, degree: int, kept: Array, steps: int = 300) -> tuple[Array, float]:
    """Levenberg-Marquardt steps, the least where unknowns outnumber conditions; the rule and its residual."""
    points = rule.shape[1]
    goal = np.zeros(len(kept))
    goal[0] = np.sqrt(4 * np.pi)

    def residual(rule: Array) -> Array:
        return harmonics(range(degree + 1), rule[0], rule[1])[kept] @ rule[2] - goal

    r, damping = residual(rule), 1e-1
    for _ in range(steps):
        slope, around = (table[kept] for table in gradients(range(degree + 1), rule[0], rule[1]))
        scale = np.stack([np.ones(points), 1 / np.maximum(np.sin(rule[0]), 0.05), np.full(points, 4 * np.pi / points)])
        values = harmonics(range(degree + 1), rule[0], rule[1])[kept]
        J = np.concatenate([slope * rule[2], around * np.sin(rule[0]) * rule[2] * scale[1], values * scale[2]], 1)
        U, S, Vt = np.linalg.svd(J, full_matrices=False)
        for _ in range(8):
            step = Vt.T @ (S / (S * S + damping * np.mean(S * S) + 1e-12 * S[0] ** 2) * (U.T @ -r))
            trial = rule + step.reshape(3, points) * scale
            if (better := residual(trial)) @ better < r @ r:
                break
            damping *= 4
        else:
            return rule, float(np.linalg.norm(r))
        rule, r, damping = trial, better, max(damping * 0.2, 1e-15)
    return rule, float(np.linalg.norm(r))


def find(degree: int, symmetry: str, rng: np.random.Generator, tolerance: float = 2e-14) -> Array:
    """The first rule with as few orbits as the conditions allow, or a few more, that has positive weights."""
    kept = invariant(degree, symmetry)
    for points in range(-(-len(kept) // 3), len(kept)):
        for _ in range(12 if degree < 20 else 4):
            rule, residual = refine(start(points, symmetry, rng), degree, kept)
            if residual < tolerance * np.sqrt(len(kept)) and rule[2].min() > 0:
                found = f"{points} orbits for {len(kept)} conditions"
                print(f"{symmetry} degree {degree}: {found}, residual {residual:.0e}", flush=True)
                return rule
    raise SystemExit(f"no rule of degree {degree} with {symmetry}")


def main() -> None:
    """Finds and writes all rules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--degree", type=int, default=30, help="highest degree, even")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    rules = {
        f"{symmetry}-{degree}": find(degree, symmetry, rng)
        for symmetry in SYMMETRIES[1:]
        for degree in range(2, arguments.degree + 1, 2)
    }
    np.savez_compressed(arguments.out, **rules)


if __name__ == "__main__":
    main()
