"""The settings of a run of dynamics, which every frame carries so that only the same run can continue it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, Final

from molgen.errors import ConfigError, SimulationError, nearest

__all__ = ["ENSEMBLES", "RUN_PREFIX", "Settings", "parse_time", "require_integer"]

ENSEMBLES: Final = ("nve", "langevin")
_VELOCITIES: Final = ("draw", "file")
RUN_PREFIX: Final = "md_"  # of what frames say of their run
_FEMTOSECONDS: Final = {"fs": 1.0, "ps": 1e3, "ns": 1e6}


@dataclass(frozen=True)
class Settings:
    """What decides a trajectory besides structure and length.

    Raises:
        ConfigError: names the setting that makes no sense.
    """

    ensemble: str = "langevin"
    temperature: float = 300.0  # K
    timestep: float = 0.5  # fs
    friction: float = 0.01  # 1/fs, of Langevin dynamics
    interval: int = 20  # steps between two frames
    seed: int = 0
    velocities: str = "draw"
    model: str = ""
    dtype: str = ""  # of the model's weights

    def __post_init__(self) -> None:
        for name, value, known in (
            ("ensemble", self.ensemble, ENSEMBLES),
            ("velocities", self.velocities, _VELOCITIES),
        ):
            if value not in known:
                raise ConfigError(
                    f"unknown {name} {value!r}", expected=" or ".join(known), remedy=nearest(value, known)
                )
        for name in ("temperature", "timestep", "friction"):
            if not (_are_numbers(value := getattr(self, name)) and math.isfinite(value)):
                raise ConfigError(f"the {name} is {value!r}", expected="a number")
        _require("temperature", self.temperature, self.temperature >= 0, "0 K or more")
        _require("timestep", self.timestep, self.timestep > 0, "a positive number of fs")
        _require("friction", self.friction, self.friction > 0, "a positive number of 1/fs")
        require_integer("the interval", self.interval, 1)
        require_integer("the seed", self.seed, 0)

    def as_info(self, step: int) -> dict[str, Any]:
        """What a frame of this step says of its run."""
        return {f"{RUN_PREFIX}step": step, f"{RUN_PREFIX}time_fs": step * self.timestep} | {
            f"{RUN_PREFIX}{name}": value for name, value in self._decisive().items()
        }

    def continues(self, info: Mapping[str, Any], where: str) -> int:
        """The step of a frame of the same run.

        Raises:
            SimulationError: the frame is of no run, or of one with other settings.
        """
        step = info.get(f"{RUN_PREFIX}step")
        if step is None:
            raise SimulationError(
                "its last frame says nothing of a run",
                where=where,
                expected="a trajectory of molgen md",
                remedy="start a new run from that frame",
            )
        for name, value in self._decisive().items():
            before: Any = info.get(f"{RUN_PREFIX}{name}")
            same = math.isclose(before, value) if _are_numbers(before, value) else str(before) == str(value)
            if not same:
                raise SimulationError(
                    f"its {name} was {before}, and this run's is {value}",
                    where=where,
                    remedy="restart with the same settings, or start a new run from its last frame with its velocities",
                )
        return int(step)

    def _decisive(self) -> dict[str, Any]:
        """Those that decide this ensemble's trajectory."""
        found = {name: value for name, value in asdict(self).items() if value != ""}
        if self.ensemble == "nve":
            del found["friction"]
        return found


def parse_time(text: str) -> float:
    """The fs of a simulated time.

    Raises:
        ConfigError: no number with a unit.

    >>> parse_time("10ps")
    10000.0
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(fs|ps|ns)", text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is no simulated time", expected="a number with fs, ps or ns, as in 10ps")
    return float(found[1]) * _FEMTOSECONDS[found[2]]


def require_integer(name: str, value: object, least: int) -> None:
    """Raise ConfigError for what is no integer, or too small."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name} is {value!r}", expected="an integer")
    if value < least:
        raise ConfigError(f"{name} is {value}", expected=f"at least {least}" if least else "0 or more")


def _require(name: str, value: float, right: bool, expected: str) -> None:
    if not right:
        raise ConfigError(f"the {name} is {value}", expected=expected)


def _are_numbers(*values: object) -> bool:
    # numpy's scalars among them, which files bring
    return all(hasattr(value, "__float__") and not isinstance(value, str) for value in values)
