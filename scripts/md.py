"""Heat a molecule: relax it with a potential, then run Langevin dynamics, and plot its energies.

python scripts/md.py molecule.xyz out/molecule.traj --model organics --temperature 300 --length 5
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import molgen

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("structure", help="sdf, xyz, extxyz, cif, POSCAR, or another format that ASE reads")
parser.add_argument("out", type=Path, help="the trajectory: .traj, .extxyz or .xyz")
parser.add_argument("--model", default="organics", help="a registered potential's name, or the path of a file")
parser.add_argument("--temperature", type=float, default=300.0, help="K")
parser.add_argument("--timestep", type=float, default=0.5, help="fs")
parser.add_argument("--length", type=float, default=1.0, help="ps")
parser.add_argument("--seed", type=int, default=0, help="of velocities and noise")


def main() -> None:
    """Relax, heat, plot."""
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    calculator = molgen.Calculator(arguments.model)
    relaxed = molgen.relax(arguments.structure, calculator)
    print(relaxed.table())

    simulation = molgen.run_md(
        relaxed[0].atoms,
        calculator,
        arguments.out,
        steps=round(1000 * arguments.length / arguments.timestep),
        timestep=arguments.timestep,
        temperature=arguments.temperature,
        seed=arguments.seed,
        overwrite=True,
        progress=True,
    )
    print(f"{simulation.temperature:.0f} K, {simulation.ns_per_day:.3g} ns/day", *simulation.notes, sep="\n")

    log = np.genfromtxt(simulation.log, delimiter=",", names=True)
    for energy in ("potential", "kinetic"):
        plt.plot(log["time_fs"] / 1000, log[f"{energy}_energy_eV"] - log[f"{energy}_energy_eV"][0], label=energy)
    plt.xlabel("time / ps")
    plt.ylabel("energy since the start / eV")
    plt.legend()
    plt.savefig(arguments.out.with_suffix(".png"))
    print(simulation.trajectory, simulation.log, arguments.out.with_suffix(".png"), sep="\n")


if __name__ == "__main__":
    main()
