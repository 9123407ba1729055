"""Triton kernels of the fused method; the only module that imports triton.

A program takes R rows (b, u), row b of the tensors and channel u. It gathers the rows' components once, then goes
through the points G at a time: values of both functions, their product, the product's share of the integrals. Nothing
of what is on the grid leaves the program.

Shapes: a function's components are packed by class (see `quadrature`; one class, or two by the degree's parity), each
class filled up with zeros to a power of two; T components in all. Tables: `synthesis` [values, or both slopes; P, T],
`analysis` [T, P], `places` [3, T] first position, step per channel and number of channels of each component, or
[channels, T] positions, −1 for none.
"""

# Triton compiles these functions from their source: they have no Python types, and their constants are in capitals.
# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from functools import cache
from typing import Any, Final

import triton
import triton.language as tl

__all__ = ["INTERPRETED", "contraction", "gradient", "launch"]


@triton.jit
def _dot(a, b, PRECISION: tl.constexpr):
    if PRECISION == "bfloat16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    elif PRECISION == "rounded":  # bfloat16 for the interpreter, which can't multiply it
        return tl.dot(a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32))
    else:
        return tl.dot(a, b, input_precision=PRECISION)


@triton.jit
def _where(places, base, u, live, FIRST: tl.constexpr, N: tl.constexpr, T: tl.constexpr, STEPS: tl.constexpr):
    """Offsets [R, N] of components FIRST … of rows that begin at base [R], and whether they are there."""
    n = FIRST + tl.arange(0, N)
    if STEPS:
        first, step, count = tl.load(places + n), tl.load(places + T + n), tl.load(places + 2 * T + n)
        position = first[None, :] + u[:, None] * step[None, :]
        there = u[:, None] < count[None, :]
    else:
        position = tl.load(places + u[:, None] * T + n[None, :])
        there = position >= 0
    return base[:, None] + position, there & live[:, None]


@triton.jit
def _take(x, places, base, u, live, N0: tl.constexpr, N1: tl.constexpr, STEPS: tl.constexpr):
    """Components [R, N0] and [R, N1]; of one class the second is the first again, unused."""
    offset, there = _where(places, base, u, live, 0, N0, N0 + N1, STEPS)
    x0 = tl.load(x + offset, mask=there, other=0.0)
    x1 = x0
    if N1 > 0:
        offset, there = _where(places, base, u, live, N0, N1, N0 + N1, STEPS)
        x1 = tl.load(x + offset, mask=there, other=0.0)
    return x0, x1


@triton.jit
def _put(out, places, base, u, live, z0, z1, N0: tl.constexpr, N1: tl.constexpr, STEPS: tl.constexpr):
    offset, there = _where(places, base, u, live, 0, N0, N0 + N1, STEPS)
    tl.store(out + offset, z0, mask=there)
    if N1 > 0:
        offset, there = _where(places, base, u, live, N0, N1, N0 + N1, STEPS)
        tl.store(out + offset, z1, mask=there)


@triton.jit
def _synthesise(x0, x1, table, p, N0: tl.constexpr, N1: tl.constexpr, PRECISION: tl.constexpr):
    """Values [R, G] at points p [G], of each class."""
    row = table + p[None, :] * (N0 + N1)
    f0 = _dot(x0, tl.load(row + tl.arange(0, N0)[:, None]), PRECISION)
    f1 = f0
    if N1 > 0:
        f1 = _dot(x1, tl.load(row + N0 + tl.arange(0, N1)[:, None]), PRECISION)
    return f0, f1


@triton.jit
def _jet(x0, x1, table, p, P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, ODD: tl.constexpr, PREC: tl.constexpr):
    """Values, twice; or derivatives along θ and along φ."""
    f0, f1 = _synthesise(x0, x1, table, p, N0, N1, PREC)
    a0, a1 = f0, f1
    if ODD:
        a0, a1 = _synthesise(x0, x1, table + P * (N0 + N1), p, N0, N1, PREC)
    return f0, f1, a0, a1


@triton.jit
def _multiply(f0, f1, fa0, fa1, g0, g1, ga0, ga1, TWO: tl.constexpr, ODD: tl.constexpr):
    """Values of the product of two jets, of each class; odd: of the bracket, which changes the classes' places."""
    if ODD:
        if TWO:
            h1 = f0 * ga0 + f1 * ga1 - fa0 * g0 - fa1 * g1
            h0 = f0 * ga1 + f1 * ga0 - fa0 * g1 - fa1 * g0
        else:
            h0 = f0 * ga0 - fa0 * g0
            h1 = h0
    else:
        if TWO:
            h0 = f0 * g0 + f1 * g1
            h1 = f0 * g1 + f1 * g0
        else:
            h0 = f0 * g0
            h1 = h0
    return h0, h1


@triton.jit
def _analyse(h0, h1, z0, z1, table, p, P: tl.constexpr, N0: tl.constexpr, N1: tl.constexpr, PRECISION: tl.constexpr):
    """Sums z [R, N] with the share of the points p added."""
    z0 += _dot(h0, tl.load(table + tl.arange(0, N0)[None, :] * P + p[:, None]), PRECISION)
    if N1 > 0:
        z1 += _dot(h1, tl.load(table + (N0 + tl.arange(0, N1))[None, :] * P + p[:, None]), PRECISION)
    return z0, z1


@triton.jit(do_not_specialize=["rows", "size"])
def contraction(
    x, y, z, x_places, y_places, z_places, x_synthesis, y_synthesis, z_analysis,
    rows, x_width, y_width, z_width, size,
    CHANNELS: tl.constexpr, X_MANY: tl.constexpr, Y_MANY: tl.constexpr, Z_MANY: tl.constexpr,
    X0: tl.constexpr, X1: tl.constexpr, Y0: tl.constexpr, Y1: tl.constexpr, Z0: tl.constexpr, Z1: tl.constexpr,
    X_STEPS: tl.constexpr, Y_STEPS: tl.constexpr, Z_STEPS: tl.constexpr,
    P: tl.constexpr, ODD: tl.constexpr, PRECISION: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """Z [rows, z_width] of x and y; where z has one channel of many, a program goes through all channels of its rows.

    `size` does nothing here: by it autotuning tells few rows from many.
    """
    TURNS: tl.constexpr = 1 if Z_MANY else CHANNELS
    TWO: tl.constexpr = Z1 > 0
    PER_ROW: tl.constexpr = CHANNELS // TURNS
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    b, u = r // PER_ROW, (r % PER_ROW).to(tl.int32)
    live = b < rows
    z0 = tl.zeros((R, Z0), dtype=tl.float32)
    z1 = tl.zeros((R, Z1 if TWO else 16), dtype=tl.float32)
    for turn in range(TURNS):
        v = u + turn
        x0, x1 = _take(x, x_places, b * x_width, v if X_MANY else v * 0, live, X0, X1, X_STEPS)
        y0, y1 = _take(y, y_places, b * y_width, v if Y_MANY else v * 0, live, Y0, Y1, Y_STEPS)
        for start in range(0, P, G):
            p = start + tl.arange(0, G)
            f0, f1, fa0, fa1 = _jet(x0, x1, x_synthesis, p, P, X0, X1, ODD, PRECISION)
            g0, g1, ga0, ga1 = _jet(y0, y1, y_synthesis, p, P, Y0, Y1, ODD, PRECISION)
            h0, h1 = _multiply(f0, f1, fa0, fa1, g0, g1, ga0, ga1, TWO, ODD)
            z0, z1 = _analyse(h0, h1, z0, z1, z_analysis, p, P, Z0, Z1, PRECISION)
    _put(z, z_places, b * z_width, u, live, z0, z1, Z0, Z1, Z_STEPS)


@triton.jit(do_not_specialize=["rows", "size"])
def gradient(
    x, y, z, dx, dy, x_places, y_places, z_places,
    x_synthesis, y_synthesis, z_synthesis, x_analysis, y_analysis,
    rows, x_width, y_width, z_width, size,
    CHANNELS: tl.constexpr, X_MANY: tl.constexpr, Y_MANY: tl.constexpr, Z_MANY: tl.constexpr,
    X0: tl.constexpr, X1: tl.constexpr, Y0: tl.constexpr, Y1: tl.constexpr, Z0: tl.constexpr, Z1: tl.constexpr,
    X_STEPS: tl.constexpr, Y_STEPS: tl.constexpr, Z_STEPS: tl.constexpr,
    P: tl.constexpr, ODD: tl.constexpr, PRECISION: tl.constexpr, R: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """Dx and dy of x, y and the gradient z of their product; each of the three is brought to the points once."""
    TURNS: tl.constexpr = 1 if X_MANY and Y_MANY else CHANNELS
    TWO: tl.constexpr = Z1 > 0
    PER_ROW: tl.constexpr = CHANNELS // TURNS
    r = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    b, u = r // PER_ROW, (r % PER_ROW).to(tl.int32)
    live = b < rows
    dx0 = tl.zeros((R, X0), dtype=tl.float32)
    dx1 = tl.zeros((R, X1 if TWO else 16), dtype=tl.float32)
    dy0 = tl.zeros((R, Y0), dtype=tl.float32)
    dy1 = tl.zeros((R, Y1 if TWO else 16), dtype=tl.float32)
    for turn in range(TURNS):
        v = u + turn
        x0, x1 = _take(x, x_places, b * x_width, v if X_MANY else v * 0, live, X0, X1, X_STEPS)
        y0, y1 = _take(y, y_places, b * y_width, v if Y_MANY else v * 0, live, Y0, Y1, Y_STEPS)
        z0, z1 = _take(z, z_places, b * z_width, v if Z_MANY else v * 0, live, Z0, Z1, Z_STEPS)
        for start in range(0, P, G):
            p = start + tl.arange(0, G)
            f0, f1, fa0, fa1 = _jet(x0, x1, x_synthesis, p, P, X0, X1, ODD, PRECISION)
            g0, g1, ga0, ga1 = _jet(y0, y1, y_synthesis, p, P, Y0, Y1, ODD, PRECISION)
            h0, h1, ha0, ha1 = _jet(z0, z1, z_synthesis, p, P, Z0, Z1, ODD, PRECISION)
            gh0, gh1 = _multiply(g0, g1, ga0, ga1, h0, h1, ha0, ha1, TWO, ODD)
            dx0, dx1 = _analyse(gh0, gh1, dx0, dx1, x_analysis, p, P, X0, X1, PRECISION)
            hf0, hf1 = _multiply(h0, h1, ha0, ha1, f0, f1, fa0, fa1, TWO, ODD)
            dy0, dy1 = _analyse(hf0, hf1, dy0, dy1, y_analysis, p, P, Y0, Y1, PRECISION)
        if TURNS > 1 and X_MANY:
            _put(dx, x_places, b * x_width, v, live, dx0, dx1, X0, X1, X_STEPS)
            dx0, dx1 = tl.zeros_like(dx0), tl.zeros_like(dx1)
        if TURNS > 1 and Y_MANY:
            _put(dy, y_places, b * y_width, v, live, dy0, dy1, Y0, Y1, Y_STEPS)
            dy0, dy1 = tl.zeros_like(dy0), tl.zeros_like(dy1)
    if TURNS == 1 or not X_MANY:
        _put(dx, x_places, b * x_width, u, live, dx0, dx1, X0, X1, X_STEPS)
    if TURNS == 1 or not Y_MANY:
        _put(dy, y_places, b * y_width, u, live, dy0, dy1, Y0, Y1, Y_STEPS)


INTERPRETED: Final = not isinstance(contraction, triton.JITFunction)  # TRITON_INTERPRET=1: on the CPU, in Python

# R, warps, stages; from small to large
_BLOCKS: Final = ((16, 4, 2), (32, 4, 2), (32, 8, 2), (64, 4, 2), (64, 8, 2), (128, 4, 2), (128, 8, 2))
# What a program may use, as seen in code compiled for sm_90: beyond so many sums a thread's 255 registers spill and
# compiling takes long, sooner without tensor cores; beyond so many bytes of shared memory it can't be started.
_MOST_SUMS: Final = {True: 48, False: 96}
_MOST_SHARED: Final = 227 << 10
_LONG: Final = 64  # components, beyond which compiling takes long


def _fitting(configs: list[Any], named: dict[str, Any], **options: Any) -> list[Any]:
    """The largest blocks that fit, since they read the tables least often; the smallest where none do."""
    given = {**named, **options}
    x, y, z = (given[f"{letter}0"] + given[f"{letter}1"] for letter in "XYZ")
    taken, sums = (x + y + z, x + y) if "dx" in given else (x + y, z)
    tables = taken * (2 if given["ODD"] else 1) + sums
    copies = 2 if given["PRECISION"] == "tf32x3" else 1

    def fits(config: Any) -> bool:
        R = config.kwargs["R"]
        shared = 4 * (R * taken * copies + given["G"] * tables * 3 // 2)
        return shared <= _MOST_SHARED and R * sums <= _MOST_SUMS[given["PRECISION"] == "ieee"] * 32 * config.num_warps

    few = 2 if max(x, y, z) > _LONG else 4
    return [config for config in configs if fits(config)][-few:] or configs[:1]


@cache
def _tuned(name: str) -> Any:
    kernel = _KERNELS[name]
    return triton.autotune(
        [triton.Config({"R": R}, num_warps=warps, num_stages=stages) for R, warps, stages in _BLOCKS],
        key=["size", *(each for each in kernel.arg_names if each.isupper() and each != "R")],
        prune_configs_by={"early_config_prune": _fitting},
    )(kernel)


_KERNELS: Final = {"contraction": contraction, "gradient": gradient}


def launch(name: str, programs: int, arguments: list[Any], options: dict[str, Any]) -> None:
    """Runs a kernel over so many rows of a program; the block sizes are tuned once per size of the problem."""
    if INTERPRETED:
        precision = "rounded" if options["PRECISION"] == "bfloat16" else options["PRECISION"]
        _KERNELS[name][(triton.cdiv(programs, 16),)](*arguments, 0, **{**options, "PRECISION": precision}, R=16)
        return
    size = 2 + (programs > 1 << 13) + (programs > 1 << 16)  # neither idle multiprocessors nor the last few programs
    _tuned(name)[lambda chosen: (triton.cdiv(programs, chosen["R"]),)](*arguments, size, **options)
