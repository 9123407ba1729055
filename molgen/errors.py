"""One exception tree. Every error that a user can cause or mend is one of these.

::

    MolgenError
    ├── InputError               data that the user handed in
    │   ├── StructureError       a structure that no model could take (NaN, unknown element, wrong shape)
    │   ├── FileFormatError      a file that can't be read as what it claims to be
    │   └── RequestError         a generation request that can't be met
    ├── ConfigError              a config that names an unknown key, a wrong type, a combination that can't work
    ├── PluginError              the plugin host
    │   ├── UnknownComponentError    no such component, with the nearest name
    │   ├── AmbiguousComponentError  a short name that two distributions claim
    │   └── BrokenPluginError        the component's plugin failed, is blocked, or speaks another API
    ├── CheckpointError          a model file that is truncated, altered, from the future, or needs what is missing
    ├── OutputError              a place that can't be written: exists, read-only, full
    ├── TrainingError            a run that can't go on: loss not finite, state that doesn't fit
    └── SimulationError          energies, forces or atoms that left reason in a relaxation or in dynamics

A message has four parts: what happened, where, what was expected, and what to do about it.
Beside the tree stand warnings: `DroppedDataWarning` (the result is right, but holds less than was handed in) and
`FittedEnergiesWarning` (what should have been given was fitted to the data).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "AmbiguousComponentError",
    "BrokenPluginError",
    "CheckpointError",
    "ConfigError",
    "DroppedDataWarning",
    "FileFormatError",
    "FittedEnergiesWarning",
    "InputError",
    "MolgenError",
    "OutputError",
    "PluginError",
    "RequestError",
    "SimulationError",
    "StructureError",
    "TrainingError",
    "UnknownComponentError",
    "nearest",
]


class MolgenError(Exception):
    """An error with a message of four parts.

    Args:
        what: what happened, one clause.
        where: file, key path, structure index, atom index.
        expected: what would have been right.
        remedy: what to do now.

    >>> str(MolgenError("unknown element", where="atom 3", expected="H, C, N, O", remedy="choose another model"))
    'unknown element (atom 3); expected H, C, N, O; choose another model'
    """

    def __init__(
        self, what: str, *, where: str | None = None, expected: str | None = None, remedy: str | None = None
    ) -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        message = what if where is None else f"{what} ({where})"
        parts = [message, f"expected {expected}" if expected else None, remedy]
        super().__init__("; ".join(part for part in parts if part))


class InputError(MolgenError):
    """Data that the user handed in can't be used."""


class StructureError(InputError):
    """A structure that no model could take: NaN, unknown element, wrong shape, coincident atoms."""


class FileFormatError(InputError):
    """A file that can't be read as what it claims to be: empty, truncated, of an unknown format."""


class RequestError(InputError):
    """A generation request that can't be met; raised before the first step."""


class ConfigError(MolgenError):
    """A config with an unknown key, a wrong type, or a combination that can't work."""


class PluginError(MolgenError):
    """The plugin host can't give what was asked for."""


class UnknownComponentError(PluginError):
    """No installed plugin registers a component of this name."""


class AmbiguousComponentError(PluginError):
    """Two distributions register the same short name; the full id is needed."""


class BrokenPluginError(PluginError):
    """The plugin that owns the component failed to load, is blocked, or speaks another API."""


class CheckpointError(MolgenError):
    """A model file that is truncated, altered, from the future, or needs a component that is missing."""


class OutputError(MolgenError):
    """Results can't be written: the place exists already, is read-only, or is full."""


class TrainingError(MolgenError):
    """A training run can't go on: the loss is not finite, or its saved state doesn't fit the config."""


class SimulationError(MolgenError):
    """A simulation can't go on: energies, forces or velocities left reason, or its files don't belong together."""


class DroppedDataWarning(UserWarning):
    """Part of the input has no place in the result: constraints, say, or labels that only some structures have."""


class FittedEnergiesWarning(UserWarning):
    """Energies of isolated atoms were not given, and a fit to the training data stands in for them."""


# more names than this are no help in one line
_LISTED = 30


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """A remedy that names the closest valid spelling, or the valid ones if none is close and they are few.

    >>> nearest("egn", ["egnn", "scn"])
    "did you mean 'egnn'?"
    """
    valid = sorted(candidates)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose one of {', '.join(valid)}" if 0 < len(valid) <= _LISTED else None
