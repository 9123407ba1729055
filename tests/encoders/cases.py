"""Every encoder that is installed, in small configs, with the errors that it is allowed.

A new encoder is tested by being installed: it is built with the options below that it has, once for complete graphs and
once with a cutoff. What it may do wrong is read from its capabilities; figures for single encoders stand in tables.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from encoders.energy import EnergyModel
from torch import Tensor, nn

from molgen.host.component import Capabilities
from molgen.host.registry import registry
from molgen.host.resolved import Resolved
from molgen.interfaces import Encoder, Features
from molgen.neighbors import Graph, complete_graph, radius_graph
from molgen.structures import Structures

INPUTS = 4
CUTOFF = 3.0  # Å
ELEMENTS = (1, 6, 7, 8)

# of the options that an encoder has, those that make it small
_SMALL = {
    "channels": 8,
    "layers": 2,
    "l_max": 2,
    "radial_channels": 8,
    "hidden_channels": 16,
    "pair_channels": 8,
    "vector_channels": 4,
    "heads": 2,
}

# configs beside the two that every encoder has, for what other options switch on
_FURTHER: dict[str, tuple[dict[str, Any], ...]] = {
    "molgen-egnn:egnn": (
        {"attention": False, "update_positions": False, "edge_channels": 3},
        {"edge_channels": 3, "cutoff": CUTOFF},
    ),
    "molgen-gaunt:gaunt": (
        {"parity": "full", "l_hidden": 2, "correlation": 2, "cutoff": CUTOFF},
        {"parity": "full", "tensor_product": "clebsch-gordan", "cutoff": CUTOFF},
        {"tensor_product": "clebsch-gordan", "aggregation": "edges", "correlation": 1},
        {"aggregation": "edges", "l_hidden": 0, "normalize": False, "nonlinearity": "none", "cutoff": CUTOFF},
        {"nonlinearity": "s2", "l_hidden": 2, "cutoff": CUTOFF},
    ),
    "molgen-pair-attention:pair-attention": (
        {"edge_channels": 3, "layers": 5},
        {"update_positions": False, "widening": 1},
    ),
    "molgen-spherical-channels:escn": ({"reflections": False, "m_max": 1}, {"m_max": 1, "l_max": 4, "cutoff": CUTOFF}),
    "molgen-spherical-channels:scn": ({"m_max": 1}, {"m_max": 1, "taps": 8, "cutoff": CUTOFF}),
}

# relative error of forces against finite differences, float64
_FORCES = {"molgen-spherical-channels:scn": 1e-6}
_FORCES_ELSE = 1e-8

# relative error of turned features: rounding of some ten thousand operations, or what an approximation may be off
_TURNED = {"O3": 1e-10, "SO3": 1e-10, "approximate": 0.3}

# what an option adds to the symmetry that the encoder claims whatever its options
_ADDED = {("molgen-spherical-channels:escn", "reflections", True): "O3"}

# what an option takes from it: the degrees that a nonlinearity makes beyond those of its grid
_TURNED_WITH = {("molgen-gaunt:gaunt", "nonlinearity", "s2"): 1e-5}


@dataclass(frozen=True, eq=False)
class Case:
    """An encoder in one config."""

    use: str
    config: Mapping[str, Any]
    capabilities: Capabilities
    cutoff: float | None  # Å, None for complete graphs
    symmetry: str
    turned_error: float | None  # largest relative error of features of turned atoms, float64; None without symmetry

    @property
    def exact(self) -> bool:
        """Whether its features turn with the atoms, to rounding."""
        return self.symmetry in ("O3", "SO3")

    @property
    def force_error(self) -> float:
        """Largest relative error of forces, float64."""
        return _FORCES.get(self.use, _FORCES_ELSE)

    def __str__(self) -> str:
        shown = ",".join(f"{key}={value}" for key, value in self.config.items() if value != _SMALL.get(key))
        return f"{self.use.partition(':')[2]}[{shown}]"


def _cases() -> list[Case]:
    found = []
    for resolved in registry().components("encoder"):
        fields = resolved.config_model().model_fields
        small = {key: value for key, value in _SMALL.items() if key in fields}
        configs = [{}, *([{"cutoff": CUTOFF}] if "cutoff" in fields else []), *_FURTHER.get(resolved.id, ())]
        found += [_case(resolved, small | config) for config in configs]
    return found


def _case(resolved: Resolved, config: Mapping[str, Any]) -> Case:
    capabilities, options = resolved.component.capabilities, resolved.make_config(config)

    def by_option(table: Mapping[tuple[str, str, Any], Any], default: Any) -> Any:
        found = (
            each for (use, key, value), each in table.items() if use == resolved.id and getattr(options, key) == value
        )
        return next(found, default)

    symmetry = by_option(_ADDED, capabilities.symmetry)
    turned = by_option(_TURNED_WITH, _TURNED.get(symmetry))
    return Case(resolved.id, config, capabilities, getattr(options, "cutoff", None), symmetry, turned)


ALL = _cases()
COMPLETE = [case for case in ALL if case.cutoff is None]
LOCAL = [case for case in ALL if case.cutoff is not None]
PERIODIC = [case for case in LOCAL if case.capabilities.periodic]
TWICE = [case for case in ALL if case.capabilities.double_backward]
# the first config of each encoder, for what no option changes
FIRST = [case for n, case in enumerate(COMPLETE) if case.use not in [other.use for other in COMPLETE[:n]]]
FIRST_LOCAL = [case for n, case in enumerate(LOCAL) if case.use not in [other.use for other in LOCAL[:n]]]


@functools.cache
def encoder_of(case: Case, edge_inputs: int = 0) -> Encoder:
    """The encoder in float64, with weights none of which is zero."""
    torch.manual_seed(1)
    made = registry().resolve("encoder", case.use)
    encoder = made.build(case.config, inputs=INPUTS, edge_inputs=edge_inputs, average_neighbors=5.0)
    return scattered(encoder).double()


@functools.cache
def potential_of(case: Case) -> Any:
    """A minimal potential of the encoder, float64."""
    torch.manual_seed(2)
    return scattered(EnergyModel(copy.deepcopy(encoder_of(case)), ELEMENTS, hidden=8).double())


def scattered(module: nn.Module) -> Any:
    """The module, its weights moved a little, so that nothing is hidden by those that start at zero."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.requires_grad_(True)


def graph_of(case: Case, structures: Structures) -> Graph:
    """The edges that the case wants."""
    return complete_graph(structures) if case.cutoff is None else radius_graph(structures, case.cutoff)


def features_of(case: Case, structures: Structures, scalars: Tensor) -> Features:
    """Of structures with N atoms and scalars [N, INPUTS]."""
    features: Features = encoder_of(case)(graph_of(case, structures), scalars)
    return features


def scalars_of(n: int, seed: int = 0) -> Tensor:
    """[n, INPUTS] invariants of atoms."""
    return torch.randn(n, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
