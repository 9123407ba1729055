"""Which sampler draws: the one that trained the model, or another one that can invert what it learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from molgen.errors import ConfigError, RequestError
from molgen.generation.request import check_count
from molgen.host.registry import Registry
from molgen.interfaces import Sampler
from molgen.models.choice import choose
from molgen.models.restoration import Loaded

__all__ = ["SamplerChoice", "choose_sampler"]

SamplerChoice = str | Mapping[str, Any] | None
"""An id; or `{"use": id, "config": {...}}`; or None for the sampler that trained the model, as it was set then."""


@dataclass(frozen=True)
class _Asked:
    use: str
    config: Mapping[str, Any] = field(default_factory=dict)


def choose_sampler(
    loaded: Loaded, asked: SamplerChoice, n_steps: int | None, *, source: Registry | None = None
) -> tuple[Sampler, str, int]:
    """The sampler, its full id, and the number of steps: its option `n_steps` where none is asked for.

    The sampler that trained the model keeps the options of the checkpoint, but for those that are given here.

    Raises:
        PluginError: no such sampler; names the nearest.
        ConfigError: options that it doesn't take.
        RequestError: it can't invert what the model learned, or no number of steps is known.
    """
    trained = loaded.document.components["sampler"]
    sampler, use = loaded.sampler, trained.use
    if asked is not None:
        wanted = _asked(asked)
        choice = choose("sampler", wanted, source=source)
        use = choice.resolved.id
        if use == trained.use and wanted.config:
            choice = choose("sampler", _Asked(use, {**_config(sampler), **wanted.config}), source=source)
        if use != trained.use or wanted.config:
            sampler = choice.build()
    reason = sampler.accepts(loaded.process)
    if reason is not None:
        raise RequestError(
            f"the sampler {use} can't draw from the model {loaded.document.name}: {reason}",
            where="sampler",
            remedy=f"leave it out: the model's own is {trained.use}",
        )
    return sampler, use, _steps(sampler, use, n_steps)


def _steps(sampler: Sampler, use: str, n_steps: int | None) -> int:
    if n_steps is not None:
        return check_count(n_steps, "n_steps")
    default = getattr(getattr(sampler, "config", None), "n_steps", None)
    if default is None:
        raise RequestError(f"the sampler {use} has no number of steps of its own", where="n_steps", remedy="give one")
    return int(default)


def _asked(asked: str | Mapping[str, Any]) -> _Asked:
    if isinstance(asked, str):
        return _Asked(asked)
    unknown = sorted(set(asked) - {"use", "config"})
    if unknown or "use" not in asked:
        raise ConfigError(
            f"a sampler with the keys {', '.join(map(str, asked))}", where="sampler", expected="use, and config or not"
        )
    return _Asked(asked["use"], asked.get("config") or {})


def _config(sampler: Sampler) -> dict[str, Any]:
    return sampler.config.model_dump(mode="json")  # type: ignore[attr-defined]
