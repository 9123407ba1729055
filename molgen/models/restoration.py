"""A model file brought back to life: components looked up and migrated, the module built, its tensors put in place."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from molgen.errors import CheckpointError, ConfigError, MolgenError, UnknownComponentError
from molgen.host.registry import Registry, registry
from molgen.host.resolved import Resolved
from molgen.interfaces import Process, Sampler, Schema
from molgen.models.assembly import assemble_generator
from molgen.models.budget import AllocationBudget, BudgetError
from molgen.models.checkpoint import Checkpoint
from molgen.models.document import ComponentRecord, Document, PartRecord, check_process, check_schema
from molgen.models.potential import Potential
from molgen.models.potential_assembly import HEAD_ROLE, assemble_potential
from molgen.models.strict_json import shown

__all__ = ["OWN_DISTRIBUTIONS", "Loaded", "restore", "restore_potential"]

# A file may name any distribution; only for these an install line is given.
OWN_DISTRIBUTIONS = frozenset(
    {
        "molgen-diffusion",
        "molgen-egnn",
        "molgen-force-field",
        "molgen-gaunt",
        "molgen-pair-attention",
        "molgen-pretrained",
        "molgen-spherical-channels",
    }
)

_GET_IT_AGAIN = "get the file again from where it came"
_NAMED = 3  # tensors that a message names


@dataclass(frozen=True, eq=False)
class Loaded:
    """A trained generator, in evaluation mode."""

    sampler: Sampler  # the one that trained it
    module: nn.Module
    document: Document
    schema: Schema
    process: Process
    path: Path | None  # of its file


def restore(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    source: Registry | None = None,
) -> Loaded:
    """The generator of a checkpoint. Torch's global random state stays as it was.

    Args:
        checkpoint: from `read_checkpoint`.
        device: where the module goes.
        dtype: of its floating tensors; as in the file if left out.
        source: where components are looked up; the registry of this process if left out.

    Raises:
        CheckpointError: another task; a component that is missing, broken or older than the file; tensors that
            don't fit the module.
        ConfigError: a device that torch can't use.
    """
    document = checkpoint.document
    where = _where(checkpoint, "generator", device)
    records, tensors = _modernised_all(checkpoint, where, source or registry())
    schema, process = check_schema(document.schema), check_process(document.process)
    with _told_of(where), torch.random.fork_rng(devices=[]), AllocationBudget(_budget(tensors)):
        made = assemble_generator(
            records["encoder"], records["sampler"], schema, document.statistics.model_dump(), source=source
        )
    if made.process != process:
        raise CheckpointError(
            "its sampler builds another process than the one that was learned",
            where=where,
            expected=f"the process of {document.components['sampler'].use} as the document records it",
            remedy="update molgen and its plugins",
        )
    _put(tensors, made.module, getattr(torch, document.dtype), where)
    module = made.module.to(device=device, dtype=dtype).eval()
    return Loaded(made.sampler, module, document, schema, process, checkpoint.path)


def restore_potential(
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    source: Registry | None = None,
) -> Potential:
    """The potential of a checkpoint, in evaluation mode, its weights frozen. Arguments and errors: as `restore`."""
    document = checkpoint.document
    where = _where(checkpoint, "potential", device)
    records, tensors = _modernised_all(checkpoint, where, source or registry())
    heads = [record for role, record in records.items() if role.startswith(HEAD_ROLE)]
    assert document.potential is not None  # the document's own check
    with _told_of(where), torch.random.fork_rng(devices=[]), AllocationBudget(_budget(tensors)):
        made = assemble_potential(
            records["encoder"], heads, document.potential, document.statistics.average_neighbors, source=source
        )
    _put(tensors, made.module, getattr(torch, document.dtype), where)
    return made.module.to(device=device, dtype=dtype).eval().requires_grad_(False)


def _where(checkpoint: Checkpoint, task: str, device: torch.device | str) -> str:
    """What errors name; refuses another task, and a device that can't be used."""
    document = checkpoint.document
    where = str(checkpoint.path or document.name)
    if document.task != task:
        raise CheckpointError(f"the model is a {document.task}", where=where, expected=f"a {task}")
    _check_device(device)
    return where


def _modernised_all(
    checkpoint: Checkpoint, where: str, source: Registry
) -> tuple[dict[str, ComponentRecord], dict[str, Tensor]]:
    """All components' options and tensors, as their installed versions would have written them."""
    tensors = dict(checkpoint.tensors)
    records: dict[str, ComponentRecord] = {}
    for role, record in checkpoint.document.components.items():
        kind = "head" if role.startswith(HEAD_ROLE) else role
        records[role], tensors = _modernised(kind, record, tensors, where, source)
    return records, tensors


def _modernised(
    kind: str, record: ComponentRecord, tensors: dict[str, Tensor], where: str, source: Registry
) -> tuple[ComponentRecord, dict[str, Tensor]]:
    """A component's options and tensors as its installed version would have written them."""
    own = {name.removeprefix(record.prefix): t for name, t in tensors.items() if name.startswith(record.prefix)}
    rest = {name: t for name, t in tensors.items() if not name.startswith(record.prefix)}
    config = copy.deepcopy(dict(record.config))
    resolved = _resolve(kind, record, where, source)
    with _told_of(where):
        # parts before the whole, whose migration may move them, and the innermost parts first
        for path, part in sorted(record.parts.items(), key=lambda item: -item[0].count(".")):
            options = _at(config, path, where)
            inner = _resolve(part.kind, part, where, source)
            options["config"], own = inner.migrate(options["config"], own, part.component_version)
        config, own = resolved.migrate(config, own, record.component_version)
    renamed = {f"{record.prefix}{name}": tensor for name, tensor in own.items()}
    return record.model_copy(update={"config": config}), rest | renamed


def _resolve(kind: str, record: ComponentRecord | PartRecord, where: str, source: Registry) -> Resolved:
    try:
        return source.resolve(kind, record.use)
    except UnknownComponentError as error:
        distribution = record.use.partition(":")[0]
        if any(plugin.distribution == distribution for plugin in source.plugins):
            remedy = error.remedy
        elif distribution in OWN_DISTRIBUTIONS:
            remedy = f"pip install {distribution}"
        else:
            remedy = f"install the distribution {distribution!r}, if you trust where it comes from"
        raise CheckpointError(
            f"the model needs the {kind} {record.use!r}, which no installed plugin registers",
            where=where,
            remedy=remedy,
        ) from error
    except MolgenError as error:
        raise _unfit(error, where) from error


def _budget(tensors: Mapping[str, Tensor]) -> int:
    """Bytes that building the model may take: its own size several times over, and room for constants."""
    return 32 * sum(tensor.nbytes for tensor in tensors.values()) + 2**28


@contextmanager
def _told_of(where: str) -> Iterator[None]:
    """Tells what components make of a file's options and tensors as an error of the file."""
    try:
        yield
    except BudgetError as error:
        what = f"its options describe a model far larger than its tensors: {error}"
        raise CheckpointError(what, where=where, remedy=_GET_IT_AGAIN) from error
    except MolgenError as error:
        raise _unfit(error, where) from error
    # plugins can't be asked to foresee all that a file may say
    except (ArithmeticError, LookupError, TypeError, ValueError, RuntimeError) as error:
        what = f"the model can't be built: {type(error).__name__}: {shown(str(error), 200)}"
        raise CheckpointError(what, where=where, remedy=f"update molgen and its plugins, or {_GET_IT_AGAIN}") from error


def _unfit(error: MolgenError, where: str) -> CheckpointError:
    """The error of a component, as one of the file that needs it."""
    if isinstance(error, CheckpointError) and error.where is not None and error.where.startswith(where):
        return error
    inner = where if error.where is None else f"{where}: {error.where}"
    return CheckpointError(
        f"the model can't be built: {error.what}", where=inner, expected=error.expected, remedy=error.remedy
    )


def _at(config: dict[str, Any], path: str, where: str) -> dict[str, Any]:
    """The reference at a key path of options."""
    found: Any = config
    for key in path.split("."):
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
            found = found[int(key)]
        else:
            raise CheckpointError(f"its document records a component at {path!r}, where no option is", where=where)
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        raise CheckpointError(f"its document records a component at {path!r}, which is none", where=where)
    return found


def _put(tensors: Mapping[str, Tensor], module: nn.Module, dtype: torch.dtype, where: str) -> None:
    """Put tensors in place, each with the dtype that it was stored in."""
    wanted = module.state_dict()
    for what, names in (("lacks", wanted.keys() - tensors.keys()), ("has unknown", tensors.keys() - wanted.keys())):
        if names:
            raise _no_fit(f"the model file {what} {len(names)} tensors, such as", sorted(names), where)
    shapes = [name for name, tensor in tensors.items() if tensor.shape != wanted[name].shape]
    if shapes:
        name = shapes[0]
        shown = f"{tuple(tensors[name].shape)}, where the model has {tuple(wanted[name].shape)}"
        raise _no_fit(f"a tensor of the model file has the shape {shown}:", [name], where)
    kinds = [name for name, t in tensors.items() if t.is_floating_point() != wanted[name].is_floating_point()]
    if kinds:
        raise _no_fit("the model file has integers for real numbers, or the reverse:", kinds, where)
    if torch.get_default_dtype() != dtype:
        module.to(dtype)  # it was built in whatever dtype the caller has as default
    for name, tensor in module.state_dict(keep_vars=True).items():
        tensor.data = tensors[name].to(tensors[name].dtype, copy=True)


def _no_fit(what: str, names: list[str], where: str) -> CheckpointError:
    named = ", ".join(repr(shown(name)) for name in names[:_NAMED])
    return CheckpointError(
        f"{what} {named}",
        where=where,
        expected="the tensors of the components that it names",
        remedy=f"update molgen and its plugins, or {_GET_IT_AGAIN}",
    )


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"the device {str(device)!r} can't be used: {reason}", remedy="choose cpu") from error
