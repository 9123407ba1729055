"""Molecules per second that a model generates, beside EDM's own way on the same network, and the memory it takes.

python scripts/benchmarks/generation.py --model qm9

- sampling: one batch of equal molecules, from noise to coordinates, by the model's own sampler at several numbers of
  steps and by `edm` with 1000 ancestral steps, the paper's way (Hoogeboom et al. 2022), in turns in this process;
- whole: `generate` of molecules of the data's sizes, with perception, metrics, files and report;
- command: `molgen generate` of 1000 molecules in a process of its own, from shell to files, and its peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from harness import Timing, ended, in_turn, machine, parser, publish, timed

import molgen
from molgen.allocation import keep_freed_memory

# A process of its own between us and the command, since a child's peak begins at the memory of who started it.
_WATCHER = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
_LONG = 100  # steps: beyond, files and perception are nothing beside the sampling, and a run takes a minute
_PEER = "molgen-diffusion:edm"


def peak_memory(command: Sequence[str]) -> int:
    """Peak resident bytes of a command.

    Raises:
        SystemExit: the command failed, with its own words on stderr.
    """
    found = subprocess.run(
        [sys.executable, "-S", "-c", _WATCHER, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    code, peak = json.loads(found.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return peak * _MAXRSS_UNIT


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parser("generation", __doc__, repeats=3, threads=2)
    options.add_argument("--model", default="qm9", help="a registered model's name, or the path of a file")
    options.add_argument("--steps", type=int, nargs="+", default=[10, 25, 50, 100, 1000])
    options.add_argument("--edm-steps", type=int, default=1000, help="ancestral steps of the peer")
    options.add_argument("--long-repeats", type=int, default=1, help=f"runs of cases of more than {_LONG} steps")
    options.add_argument("--dtype", default="auto", help="auto, float32, float64 or bf16-mixed, of both samplers")
    options.add_argument("--atoms", type=int, default=18, help="of each molecule of the batch; QM9's mean is 18.1")
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--molecules", type=int, default=256, help="of a whole run")
    options.add_argument("--command-molecules", type=int, default=1000, help="of the command")
    options.add_argument("--command-steps", type=int, default=50, help="of the command")
    arguments = options.parse_args(argv)
    if arguments.quick:
        arguments.steps, arguments.edm_steps, arguments.command_steps, arguments.repeats = [2, 4], 4, 2, 1
        arguments.batch_size = arguments.molecules = arguments.command_molecules = 4
    keep_freed_memory()  # as the command does
    torch.set_num_threads(arguments.threads)
    where = machine()
    generator = molgen.load(arguments.model, dtype=arguments.dtype)
    document, size = generator.document, arguments.batch_size
    own = document.components["sampler"].use

    def batch(sampler: str, steps: int) -> Callable[[], object]:
        return lambda: generator.generate(
            size, n_atoms=arguments.atoms, sampler=sampler, n_steps=steps, batch_size=size, progress=False
        )

    def whole(steps: int) -> Callable[[], None]:
        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                generator.generate(arguments.molecules, n_steps=steps, batch_size=size, progress=False, out=folder)

        return run

    cases: dict[tuple[str, str, int], Callable[[], object]] = {}
    for steps in arguments.steps:
        cases["sampling", own, steps] = batch(own, steps)
        if steps <= _LONG:
            cases["whole", own, steps] = whole(steps)
    cases["sampling", _PEER, arguments.edm_steps] = batch(_PEER, arguments.edm_steps)
    for warm_up in (batch(own, 2), batch(_PEER, 2), whole(2)):
        timed(warm_up)
    timings = in_turn({case: run for case, run in cases.items() if case[2] <= _LONG}, arguments.repeats)
    timings |= in_turn({case: run for case, run in cases.items() if case[2] > _LONG}, arguments.long_repeats)
    peer = size / timings["sampling", _PEER, arguments.edm_steps].median  # molecules/s
    results = []
    for (what, sampler, steps), timing in timings.items():
        n = size if what == "sampling" else arguments.molecules
        results.append(_result(what, sampler, steps, n, timing, peer))
    results.append(_command(arguments, own, peer))
    results.sort(key=lambda row: ("sampling", "whole", "command").index(str(row["what"])))
    shown = [{name: text for name, text in row.items() if name in _SHOWN} for row in results]
    settings = {key: value for key, value in vars(arguments).items() if key not in ("json", "quick")}
    settings |= {"dtype": generator.precision.name, "model": document.name, "tensors_sha256": document.tensors_sha256}
    peer_steps = f"{arguments.edm_steps} steps of `edm`"
    title = f"{document.name}, {settings['dtype']}, batches of {size}; × edm: beside {peer_steps}; median (min–max)"
    path, quick = arguments.json, arguments.quick
    publish("generation", title, shown, settings=settings, results=results, where=where, path=path, quick=quick)


_SHOWN = ("what", "sampler", "steps", "molecules", "molecules/s", "× edm", "peak GB")


def _result(what: str, sampler: str, steps: int, n: int, timing: Timing, peer: float) -> dict[str, object]:
    rate = n / timing.median
    return {
        "what": what,
        "sampler": sampler,
        "steps": steps,
        "molecules": n,
        "molecules/s": timing.rate_text(n, 2),
        "× edm": f"{rate / peer:.1f}" if what == "sampling" else "",
        "peak GB": "",
        "molecules_per_second": rate,
        "ratio_to_edm": rate / peer,
        **timing.as_dict(),
    }


def _command(arguments: argparse.Namespace, sampler: str, peer: float) -> dict[str, object]:
    """`molgen generate` from the shell to the files, once."""
    program, n, steps = Path(sys.executable).parent / "molgen", arguments.command_molecules, arguments.command_steps
    peaks: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        words = [str(program), "generate", arguments.model, "-n", str(n), "--steps", str(steps), "--device", "cpu"]
        words += ["--threads", str(arguments.threads), "--dtype", arguments.dtype, "--out", f"{folder}/out"]
        timing = Timing((timed(lambda: peaks.append(peak_memory(words))),))
    row = _result("command", sampler, steps, n, timing, peer)
    return row | {"peak GB": f"{peaks[0] / 1e9:.2f}", "peak_bytes": peaks[0]}


if __name__ == "__main__":
    raise SystemExit(ended(main))
