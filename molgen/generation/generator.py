"""`Generator`: a trained model that gives molecules; `load` brings one back from its file."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel

from molgen.errors import RequestError
from molgen.generation.control import controlled_sizes, read_controls
from molgen.generation.generated import GeneratedMolecules, reference_histograms, reference_metrics
from molgen.generation.plan import DEFAULT_BATCH_SIZE, EDGE_BUDGET, plan_batches
from molgen.generation.precision import Precision, choose_precision
from molgen.generation.relaxing import Relaxer
from molgen.generation.request import AtomCounts, check_count, check_seed, refuse_unsupported
from molgen.generation.run import Outcome, Run
from molgen.generation.run_folder import RunFolder
from molgen.generation.samplers import SamplerChoice, choose_sampler
from molgen.interfaces import Process, Schema
from molgen.models.checkpoint import read_checkpoint
from molgen.models.document import Document, library_versions
from molgen.models.restoration import Loaded, restore
from molgen.models.zoo import find_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from molgen.generation.control.guidance import GuideGiven
    from molgen.simulation.serving import Given

__all__ = ["Generator", "load"]


def load(
    name_or_path: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | str | None = None
) -> Generator:
    """A trained generator.

    Args:
        name_or_path: a model that a plugin registers (`molgen models` lists them), or the path of a model file.
        device: where it computes.
        dtype: "float32", "float64" or torch's own, or "bf16-mixed" for matrix products in bfloat16. If left out,
            "bf16-mixed" where the model was trained so and the device has it in hardware, else "float32".

    Raises:
        PluginError: no such model.
        CheckpointError: a file that is damaged, newer than this molgen, in need of a plugin that is missing, or no
            generator.
        ConfigError: a device or dtype that can't be used.
    """
    found = find_model(name_or_path)
    checkpoint = read_checkpoint(found.path)
    precision = choose_precision(dtype, checkpoint.document, torch.device(device))
    return Generator(restore(checkpoint, device, precision.dtype), precision, device=device, id=found.id)


class Generator:
    """A trained model that gives molecules. Made by :func:`load`.

    Args:
        loaded: from `molgen.models.restoration.restore`.
        precision: what it computes in; its module's dtype is `precision.dtype`.
        device: where its module is.
        id: `distribution:name` where a plugin registers it.
    """

    def __init__(
        self, loaded: Loaded, precision: Precision, *, device: torch.device | str = "cpu", id: str | None = None
    ) -> None:
        self._loaded, self.precision = loaded, precision
        self.device = torch.device(device)
        self.id = id

    def __repr__(self) -> str:
        return f"Generator({self.document.name}, {self.device})"

    @property
    def document(self) -> Document:
        """What the model file says of itself."""
        return self._loaded.document

    @property
    def schema(self) -> Schema:
        """What its molecules are made of."""
        return self._loaded.schema

    @property
    def process(self) -> Process:
        """What function it has learned."""
        return self._loaded.process

    def generate(
        self,
        n: int,
        seed: int = 0,
        n_atoms: AtomCounts = None,
        composition: object = None,
        scaffold: object = None,
        targets: object = None,
        sampler: SamplerChoice = None,
        n_steps: int | None = None,
        batch_size: int | None = None,
        progress: bool = True,
        *,
        out: str | Path | None = None,
        overwrite: bool = False,
        trajectory: bool = False,
        report: bool = True,
        relax: Given | Sequence[Given] | None = None,
        guide: GuideGiven | None = None,
        guidance: float | None = None,
        resume: bool = False,
    ) -> GeneratedMolecules:
        """Draw `n` molecules. The same request gives the same molecules, to the bit on one type of device.

        The batches are planned from the request alone; another batch size gives the same molecules up to rounding.

        Args:
            n: how many.
            seed: any integer of 64 bits.
            n_atoms: 18, or `(12, 20)` or "12-20" with both ends; as in the training data if left out.
            composition: "C6H12O2", or `{"C": 6, "H": 12, "O": 2}`: every molecule has exactly these atoms.
            scaffold: a substructure that every molecule has as its first atoms, in this geometry: the path of a file
                with one structure, an RDKit molecule, ASE atoms, or `Structures`. Leave out the hydrogens where
                something is to grow.
            targets: not supported yet.
            sampler: an id, or `{"use": id, "config": {...}}`; the one that trained the model if left out.
            n_steps: steps of the sampler; its own number if left out.
            batch_size: most molecules that are drawn together.
            progress: show a bar on stderr, where that is a terminal.
            out: a folder for the files of the run; finished batches are kept there while it goes on.
            overwrite: replace molgen's own files in `out`.
            trajectory: also write the way of every molecule from noise to `out`.
            report: also write `report.html` to `out`.
            relax: a potential, by name ("organics"), path or itself. When all molecules are drawn, scored and written,
                those that did not fail are relaxed with it, stable or not: `.relaxed` has the structures and `.strain`
                the energies that this set free.
            guide: a potential, by name ("organics"), path or itself, whose energy is to be low; or a function of
                `Structures` that returns [B] numbers to be made small, differentiable in their positions.
            guidance: how strong, in 1/eV for a potential; 1 if left out.
            resume: go on with the run of the same request that was interrupted or killed in `out`. It ends with the
                molecules that it would have given without.

        Returns:
            The molecules in the order of their indices. What failed is marked, never dropped.

        Raises:
            RequestError: a request that can't be met, before the first step.
            CheckpointError, PluginError, ConfigError: `relax` is no potential that can be used, before the first step.
            OutputError: `out` holds something already, or can't be written to.
            GenerationInterrupted: the user interrupts; it holds what was finished, which `out` then has too.

        Example::

            molecules = molgen.load("qm9").generate(16, seed=0, out="molecules")
            molecules.smiles, molecules.metrics.table()
        """
        refuse_unsupported(targets=targets)
        n, seed = check_count(n, "n"), check_seed(seed)
        batch_size = DEFAULT_BATCH_SIZE if batch_size is None else check_count(batch_size, "batch_size")
        for name, wanted in (("trajectory", trajectory), ("resume", resume)):
            if wanted and out is None:
                raise RequestError(f"{name} needs the folder of the run", where=name, remedy="give out a folder")
        chosen, use, steps = choose_sampler(self._loaded, sampler, n_steps)
        fixed = {"composition": composition, "scaffold": scaffold, "guide": guide, "guidance": guidance}
        controls = read_controls(self._loaded.module, self.schema, self.device, **fixed)  # type: ignore[arg-type]
        sizes = controlled_sizes(controls, self.schema, n, seed=seed, n_atoms=n_atoms)
        batches = plan_batches(sizes, batch_size=batch_size)
        request = {
            "n": n,
            "seed": seed,
            "n_atoms": None if n_atoms is None else str(n_atoms),
            "sampler": use,
            "sampler_config": _config(chosen),
            "n_steps": steps,
            **controls.record,
        }
        plan = {"batch_size": batch_size, "edge_budget": EDGE_BUDGET, "trajectory": trajectory} | {
            "batches": [batch.as_dict() for batch in batches]
        }
        relaxer = None if relax is None else Relaxer(relax, self.device)
        record = self._record() | {"request": request, "plan": plan}
        if relaxer is not None:
            record["relaxation"] = relaxer.record
        folder = None if out is None else RunFolder(out, overwrite=overwrite, resume=resume)
        run = Run(
            chosen,
            self._loaded.module,
            batches,
            n_steps=steps,
            seed=seed,
            device=self.device,
            mixed=self.precision.mixed,
            controls=controls,
        )

        def gather(outcome: Outcome) -> GeneratedMolecules:
            return GeneratedMolecules(
                outcome.structures,
                indices=outcome.indices,
                failures=outcome.failures,
                record=record | {"timing": outcome.timing},
                kept=controls.kept(outcome.structures),
                reference=reference_metrics(self.document.training),
                reference_histograms=reference_histograms(self.schema, self.document.training),
            )

        molecules = run.into(folder, record, gather, trajectory=trajectory, report=report, progress=progress)
        if relaxer is not None:
            relaxer.into(folder, molecules, report=report, progress=progress)
        return molecules

    def _record(self) -> dict[str, Any]:
        """What draws: the model, where, with which libraries."""
        document = self.document
        components = {
            role: component.model_dump(mode="json", include={"use", "distribution_version", "component_version"})
            for role, component in document.components.items()
        }
        return {
            "model": {
                "name": document.name,
                "id": self.id,
                "tensors_sha256": document.tensors_sha256,
                "components": components,
            },
            "device": str(self.device),
            "dtype": self.precision.name,
            "threads": torch.get_num_threads(),
            "versions": library_versions() | {"rdkit": metadata.version("rdkit")},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def _config(sampler: object) -> dict[str, Any] | None:
    config = getattr(sampler, "config", None)
    return config.model_dump(mode="json") if isinstance(config, BaseModel) else None
