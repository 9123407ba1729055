"""`molgen generate` with a tiny network of the shipped plugins, freshly initialised: junk, but all its files."""

from __future__ import annotations

import json
import resource
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from simulation.potentials import written

from molgen.cli.main import main
from molgen.interfaces import Schema
from molgen.models.assembly import assemble_generator
from molgen.models.checkpoint import Checkpoint, write_checkpoint
from molgen.models.document import ComponentRecord

pytest.importorskip("molgen_egnn", reason="the plugin molgen-egnn is not installed")
pytest.importorskip("molgen_diffusion", reason="the plugin molgen-diffusion is not installed")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    statistics = {"sigma_data": 1.4, "average_neighbors": 5.0}
    schema = Schema(elements=(1, 6, 7, 8), size_counts={3: 1, 4: 2, 6: 3, 7: 1})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = assemble_generator(
            ComponentRecord(
                use="molgen-egnn:egnn",
                distribution_version="0",
                component_version=1,
                config={"channels": 8, "layers": 1},
            ),
            "molgen-diffusion:karras",
            schema,
            statistics,
        )
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    write_checkpoint(path, Checkpoint(made.document("tiny", schema, statistics), made.module.state_dict()))
    return path


def run(model: Path, out: Path, *options: str) -> int:
    return main(["generate", str(model), "-n", "6", "--out", str(out), "--steps", "3", "--no-report", *options])


def test_a_run_ends_with_the_metrics_and_the_place_of_the_report(model, tmp_path, capsys):
    code = main(["generate", str(model), "-n", "4", "--out", str(tmp_path / "out"), "--steps", "2"])
    printed = capsys.readouterr().out.splitlines()
    assert code == 0
    assert any(line.startswith("d1_molecule_stability") for line in printed)
    assert printed[-1] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000


def test_every_option_is_taken(model, tmp_path, capsys):
    options = "--atoms 4-6 --sampler edm --batch-size 2 --trajectory --seed 3 --device cpu --dtype float64 --threads 1"
    assert run(model, tmp_path / "out", *options.split(), "--json", str(tmp_path / "summary.json")) == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["request"]["sampler"] == "molgen-diffusion:edm"
    assert (record["request"]["seed"], record["request"]["n_atoms"], record["dtype"]) == (3, "4-6", "float64")
    assert record["plan"]["batch_size"] == 2
    assert (tmp_path / "out" / "trajectory.extxyz").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["asked"], summary["results"], len(summary["smiles"])) == (6, 6, 6)
    assert summary["metrics"] == json.loads((tmp_path / "out" / "metrics.json").read_text())


def test_json_on_standard_output_is_all_that_is_printed(model, tmp_path, capsys):
    assert run(model, tmp_path / "out", "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["out"] == str(tmp_path / "out")


def test_the_same_seed_gives_the_same_files(model, tmp_path):
    for name in ("one", "two"):
        assert run(model, tmp_path / name, "--seed", "9") == 0
    for file in ("molecules.sdf", "molecules.extxyz", "molecules.csv", "metrics.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_other_batch_sizes_give_the_same_molecules_up_to_rounding(model, tmp_path):
    positions = []
    for size in ("6", "1"):
        assert run(model, tmp_path / size, "--batch-size", size, "--dtype", "float64") == 0
        text = (tmp_path / size / "molecules.extxyz").read_text().splitlines()
        positions.append([float(word) for line in text if len(line.split()) == 4 for word in line.split()[1:]])
    assert positions[0] == pytest.approx(positions[1], abs=1e-6)


def test_the_script_ends_with_the_place_of_its_report(model, tmp_path, capsys, monkeypatch):
    script = Path(__file__).parents[2] / "scripts" / "generate.py"
    monkeypatch.setattr(sys, "argv", [str(script), str(model), "2", str(tmp_path / "out")])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-n", "0"], "n is 0; expected at least 1"),
        (["--steps", "0"], "n_steps is 0"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--atoms", "99"], "expected 3 to 7 atoms"),
        (["--atoms", "5"], "nearest counts that it has seen are 4 and 6"),
        (["--atoms", "many"], "can't be read from 'many'"),
        (["--sampler", "karas"], "did you mean 'karras'?"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--composition", "C6H12O2"], "expected 3 to 7 atoms"),
        (["--composition", "CH3"], "9 electrons"),
        (["--scaffold", "benzene.sdf"], "benzene.sdf"),
        (["--target", "gap=3"], "property targets is not supported"),
        (["--guidance", "2.0"], "nothing that guides"),
        (["--guide", "organcis"], "unknown model 'organcis'"),
        (["--relax", "organcis"], "unknown model 'organcis'"),
        (["--relax", "nothing.safetensors"], "nothing.safetensors"),
    ],
)
def test_what_can_not_be_met_is_told_in_one_line_and_leaves_nothing(model, tmp_path, capsys, options, words):
    assert run(model, tmp_path / "out", *options) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_told_in_one_line(tmp_path, capsys):
    assert run(Path("qm7"), tmp_path / "out") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_is_there_needs_overwrite(model, tmp_path, capsys):
    assert run(model, tmp_path / "out") == 0
    assert run(model, tmp_path / "out") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert run(model, tmp_path / "out", "--overwrite") == 0


def test_fewer_results_than_asked_end_with_three(model, tmp_path, capsys, monkeypatch):
    from molgen_diffusion.karras import Karras

    sample = Karras.sample

    def breaks(self, network, request, streams):
        for state in sample(self, network, request, streams):
            hit = (request.indices == 1)[state.structures.batch]
            positions = torch.where(hit[:, None], torch.nan, state.structures.positions)
            yield type(state)(
                state.structures.replace(positions=positions),
                state.step,
                state.n_steps,
                state.noise_level,
                state.finished,
            )

    monkeypatch.setattr(Karras, "sample", breaks)
    assert run(model, tmp_path / "out") == 3
    assert "1 of 6 molecules failed" in capsys.readouterr().err


def test_an_interrupt_writes_what_is_finished_and_ends_with_130(model, tmp_path, capsys, monkeypatch):
    from molgen_diffusion.karras import Karras

    sample = Karras.sample
    started = []

    def interrupted(self, network, request, streams):
        started.append(request)
        if len(started) == 3:
            raise KeyboardInterrupt
        yield from sample(self, network, request, streams)

    monkeypatch.setattr(Karras, "sample", interrupted)
    assert run(model, tmp_path / "out", "--batch-size", "2") == 130
    assert "4 of 6 molecules are finished and in" in capsys.readouterr().err
    assert (tmp_path / "out" / "molecules.csv").read_text().count("\n") == 5


@pytest.fixture(scope="module")
def potential(tmp_path_factory) -> Path:
    pytest.importorskip("molgen_force_field", reason="the plugin molgen-force-field is not installed")
    return written(tmp_path_factory.mktemp("potential") / "pot.safetensors", symbols=("H", "C", "N", "O"))


def test_relaxed_molecules_and_their_strain_are_told_and_written(model, potential, tmp_path, capsys):
    assert run(model, tmp_path / "out", "--relax", str(potential), "--json", str(tmp_path / "summary.json")) == 0
    printed = capsys.readouterr().out
    assert "strain, eV" in printed
    assert "relaxed" in printed
    assert {"relaxed.sdf", "relaxed.extxyz"} <= {path.name for path in (tmp_path / "out").iterdir()}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["strain_eV"]) == 6
    assert summary["metrics"] == json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(summary["metrics"]) >= {"strain", "strain_mean", "relaxed"}


def test_a_generator_can_not_relax(model, tmp_path, capsys):
    assert run(model, tmp_path / "out", "--relax", str(model)) == 2
    told = capsys.readouterr().err
    assert "the model is a generator" in told
    assert "expected a potential" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_molecules_that_were_not_relaxed_are_told(model, tmp_path, capsys):
    carbon = written(tmp_path / "carbon.safetensors", symbols=("C",))
    assert run(model, tmp_path / "out", "--relax", str(carbon)) == 0
    assert "of 6 molecules were not relaxed; molecules.csv says why" in capsys.readouterr().err


def test_an_interrupt_while_relaxing_leaves_all_that_was_drawn(model, potential, tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("molgen.simulation.batched_relaxation.relax_batch", interrupted)
    assert run(model, tmp_path / "out", "--relax", str(potential)) == 130
    assert "6 of 6 molecules are finished and in" in capsys.readouterr().err
    table = (tmp_path / "out" / "molecules.csv").read_text()
    assert table.count("interrupted before it was relaxed") == 6


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        pytest.param(500, None, id="the plan does not fit"),
        pytest.param(3500, None, id="the first batch does not fit"),
        pytest.param(6000, [".partial"], id="the results do not fit"),
    ],
)
def test_a_full_disk_is_told_in_one_line_and_no_results_are_half_there(model, tmp_path, capsys, limit, left):
    # a limit on the size of each file stands for the disk
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        code = run(model, tmp_path / "out", "-n", "40")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = capsys.readouterr().err
    assert code == 2, told
    assert told.count("\n") == 1
    assert "can't write" in told
    out = tmp_path / "out"
    assert (sorted(path.name for path in out.iterdir()) if out.exists() else None) == left


def test_help_imports_nothing_heavy():
    program = (
        "import sys\n"
        "from molgen.cli.main import main\n"
        "code = main(['generate', '--help'])\n"
        "heavy = {'torch', 'rdkit', 'ase', 'e3nn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_generating_imports_neither_ase_nor_matplotlib(model, tmp_path):
    program = (
        "import sys\n"
        "from molgen.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "unused = {'ase', 'matplotlib', 'vesin', 'chemiscope', 'lightning_fabric'} & set(sys.modules)\n"
        "assert not unused, unused\n"
        "sys.exit(code)\n"
    )
    arguments = ["generate", str(model), "-n", "1", "--out", str(tmp_path / "out"), "--steps", "2"]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_what_is_fixed_is_met_and_told(model, tmp_path, capsys):
    (tmp_path / "part.xyz").write_text("2\n\nC 0 0 0\nO 0 0 1.42\n")
    fixed = ["--composition", "CH4O", "--scaffold", str(tmp_path / "part.xyz")]
    assert run(model, tmp_path / "out", *fixed) == 0
    printed = capsys.readouterr().out
    for name in ("composition_kept", "scaffold_kept"):
        assert any(line.startswith(name) and "100.00" in line for line in printed.splitlines()), name
    assert json.loads((tmp_path / "out" / "run.json").read_text())["request"]["scaffold"]["file"] == "part.xyz"


def test_a_run_that_was_killed_goes_on(model, tmp_path, capsys):
    assert run(model, tmp_path / "whole", "--batch-size", "2") == 0
    words = ["generate", str(model), "-n", "6", "--steps", "3", "--no-report", "--batch-size", "2", "--out"]
    killer = (
        "import os, signal, molgen.generation.run_folder as f; keep = f.RunFolder.keep\n"
        "def kept(self, number, sampled):\n"
        "    keep(self, number, sampled)\n"
        "    if number == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "f.RunFolder.keep = kept\n"
        f"from molgen.cli.main import main; main({[*words, str(tmp_path / 'out')]!r})"
    )
    assert subprocess.run([sys.executable, "-c", killer], check=False).returncode == -9
    assert main([*words, str(tmp_path / "out"), "--resume"]) == 0
    for name in ("molecules.sdf", "molecules.csv", "molecules.extxyz"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
