"""Many-body products of order ν beside e3nn and cuEquivariance, channel by channel, float32.

python scripts/benchmarks/many_body.py

Two comparisons, input and output C × (0e + 1o + … up to l):

- `power`: the components of f^ν alone. e3nn computes the same function by ν − 1 chained `TensorProduct`s (`uuu`) with
  the factors that make each the product of functions, and only those degrees in between that the result needs.
- `weighted`: the sum of the powers 1 … ν with weights per element (MACE's symmetric contraction). cuEquivariance's
  `SymmetricContraction` computes another, larger function: all couplings, where ours has those of products on the
  sphere. On a CPU it runs its own fallback, since its kernels are for GPUs. It is left out where building all
  couplings takes minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from e3nn import o3
from harness import ended, in_turn, machine, parser, publish, saved_bytes
from molgen_gaunt.clebsch_gordan import path_coefficient
from molgen_gaunt.many_body import ManyBodyProduct
from torch import Tensor, nn

from molgen.allocation import keep_freed_memory

ELEMENTS = 10
_ALL_COUPLINGS = {2: 4, 3: 2, 4: 1}  # highest l at which all couplings of an order are built in less than a minute
_AGREE = 1e-4  # relative, of float32 after four factors


class Chained(nn.Module):
    """f^ν by e3nn, one factor after the other."""

    def __init__(self, irreps: o3.Irreps, order: int) -> None:
        super().__init__()
        channels, l_max = irreps[0].mul, irreps.lmax
        left = irreps
        products = []
        for n in range(2, order + 1):
            highest = min(n * l_max, l_max + (order - n) * l_max)
            right = natural(channels, highest)
            paths = [
                (i, j, k, "uuu", False, path_coefficient(a.l, b.l, c.l) ** 2)
                for i, (_, a) in enumerate(left)
                for j, (_, b) in enumerate(irreps)
                for k, (_, c) in enumerate(right)
                if c in a * b and (a.l + b.l + c.l) % 2 == 0
            ]
            options = {"irrep_normalization": "none", "path_normalization": "none"}
            products.append(o3.TensorProduct(left, irreps, right, paths, **options))
            left = right
        self.products = nn.ModuleList(products)

    def forward(self, x: Tensor) -> Tensor:
        """[B, irreps] of [B, irreps]."""
        y = x
        for product in self.products:
            y = product(y, x)
        return y


class PerElement(nn.Module):
    """Ours with weights that an atom's element chooses."""

    def __init__(self, irreps: o3.Irreps, order: int, method: str) -> None:
        super().__init__()
        self.product = ManyBodyProduct(irreps, irreps, correlation=order, method=method, weights="external")
        self.weights = nn.Parameter(torch.randn(ELEMENTS, self.product.weight_numel))

    def forward(self, x: Tensor, elements: Tensor) -> Tensor:
        """[B, irreps] of [B, irreps] and the elements [B]."""
        return self.product(x, self.weights[elements])


def natural(channels: int, l_max: int) -> o3.Irreps:
    """C × each degree in the parity of functions."""
    return o3.Irreps([(channels, (l, (-1) ** l)) for l in range(l_max + 1)])


def cue(irreps: o3.Irreps, order: int) -> nn.Module | None:
    """cuEquivariance's contraction with all couplings; None where it isn't installed or takes minutes to build."""
    if irreps.lmax > _ALL_COUPLINGS.get(order, 0):
        return None
    try:
        import cuequivariance
        import cuequivariance_torch
    except ImportError:
        return None
    same = cuequivariance.Irreps("O3", str(irreps))
    return cuequivariance_torch.SymmetricContraction(
        same, same, order, ELEMENTS, layout_in=cuequivariance.ir_mul, layout_out=cuequivariance.ir_mul
    )


def cases(irreps: o3.Irreps, order: int, x: Tensor, elements: Tensor, methods: Sequence[str]) -> Cases:
    """{(comparison, name): call}; ours come first in each."""
    found: Cases = {}
    for method in methods:
        power = ManyBodyProduct(irreps, irreps, correlation=order, method=method, normalization="integral")
        found["power", f"molgen {method}"] = (lambda power=power: power(x)), power
    chained = Chained(irreps, order)
    found["power", "e3nn chained"] = (lambda: chained(x)), chained
    ours, theirs = (found["power", name][0]() for name in (f"molgen {methods[0]}", "e3nn chained"))
    error = float(((ours - theirs).abs().max() / theirs.abs().max()).detach())
    if error > _AGREE:
        raise ArithmeticError(f"ours and e3nn's powers differ by {error:.1e}")
    for method in methods:
        sums = PerElement(irreps, order, method)
        found["weighted", f"molgen {method}"] = (lambda sums=sums: sums(x, elements)), sums
    contraction = cue(irreps, order)
    if contraction is not None:
        found["weighted", "cuEquivariance, all couplings"] = (lambda: contraction(x, elements)), contraction
    return found


Cases = dict[tuple[str, str], tuple[Callable[[], Tensor], nn.Module]]


def both_ways(call: Callable[[], Tensor], module: nn.Module, x: Tensor) -> Callable[[], object]:
    """Forward and the gradients of the input and of the weights."""
    sources = [x, *module.parameters()]
    return lambda: torch.autograd.grad(call().sum(), sources)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("many_body", __doc__, repeats=20, threads=1)
    options.add_argument("--channels", type=int, default=128)
    options.add_argument("--batch-size", type=int, nargs="+", default=[32, 256])
    options.add_argument("--l-max", type=int, nargs="+", default=[1, 2, 3, 4])
    options.add_argument("--order", type=int, nargs="+", default=[2, 3, 4])
    options.add_argument("--methods", nargs="+", default=["auto", "fourier"])
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.channels, arguments.batch_size, arguments.repeats = 4, [3], 2
        arguments.l_max, arguments.order = [1, 2], [2, 3]
    keep_freed_memory()
    where = machine() | {"threads": arguments.threads}
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    shown, results = [], []
    for order in arguments.order:
        for l_max in arguments.l_max:
            for batch in arguments.batch_size:
                rows = measured(order, l_max, batch, arguments)
                results += rows
                shown += [{key: row[key] for key in _SHOWN} for row in rows]
    torch.set_num_threads(before)
    publish(
        "many_body",
        f"many-body products, {arguments.channels} channels, float32; median (min–max) of {arguments.repeats}",
        shown,
        settings={"channels": arguments.channels, "elements": ELEMENTS, "dtype": "float32"},
        results=results,
        where=where,
        path=arguments.json,
        quick=arguments.quick,
    )


_SHOWN = ("of", "ν", "l", "rows", "who", "forward ms", "× ours", "forward+backward ms", "× ours both", "MB saved")


def measured(order: int, l_max: int, batch: int, arguments: object) -> list[dict[str, object]]:
    """A row for each case of one size."""
    channels, repeats, methods = (getattr(arguments, name) for name in ("channels", "repeats", "methods"))
    irreps = natural(channels, l_max)
    x = torch.randn(batch, irreps.dim, requires_grad=True)
    elements = torch.randint(ELEMENTS, (batch,))
    made = cases(irreps, order, x, elements, methods)
    forward = {name: call for name, (call, _) in made.items()}
    both = {name: both_ways(call, module, x) for name, (call, module) in made.items()}
    with torch.no_grad():
        in_turn(forward, 2)  # warms up
        forwards = in_turn(forward, repeats)
    in_turn(both, 2)
    boths = in_turn(both, repeats)
    rows: list[dict[str, object]] = []
    for of, who in made:
        name, ours = (of, who), (of, f"molgen {methods[0]}")
        call, module = made[name]
        saved = saved_bytes(call, [x, elements, *module.parameters(), *module.buffers()])
        rows.append(
            {
                "of": of,
                "ν": order,
                "l": l_max,
                "rows": batch,
                "who": who,
                "forward ms": forwards[name].text(1e3),
                "× ours": f"{forwards[name].median / forwards[ours].median:.1f}",
                "forward+backward ms": boths[name].text(1e3),
                "× ours both": f"{boths[name].median / boths[ours].median:.1f}",
                "MB saved": f"{saved / 1e6:.2f}",
                "forward": forwards[name].as_dict(),
                "forward+backward": boths[name].as_dict(),
                "saved_bytes": saved,
            }
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(ended(main))
