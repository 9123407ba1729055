"""Models by name: a path, or a name that a plugin registers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from molgen.errors import UnknownComponentError, nearest
from molgen.host.registry import Registry, registry

__all__ = ["Located", "find_model", "locate"]


@dataclass(frozen=True)
class Located:
    """Where a model is, and what it is called."""

    path: Path
    id: str | None  # distribution:name where it is registered; aliases are resolved


def locate(name_or_path: str | Path) -> Path:
    """The file of a model; see `find_model`."""
    return find_model(name_or_path).path


def find_model(name_or_path: str | Path, *, source: Registry | None = None) -> Located:
    """The file of a model, and its id where a plugin registers it.

    A file that exists, and whatever is written like a path (with a separator, or ending in `.safetensors`), is a path;
    all else is a name.

    Raises:
        UnknownComponentError: no model has this name; with the nearest one and all that there are.
        PluginError: the name is ambiguous, or its plugin is broken.
    """
    text = str(name_or_path)
    path = Path(text).expanduser()
    if isinstance(name_or_path, Path) or path.suffix == ".safetensors" or "/" in text or "\\" in text or path.is_file():
        return Located(path, None)
    source = source or registry()
    try:
        resolved = source.resolve("model", text)
    except UnknownComponentError as error:
        names = sorted(each.component.name for each in source.components("model"))
        if not names:
            raise
        remedy = "; ".join(part for part in (nearest(text, names), f"models: {', '.join(names)}") if part)
        raise UnknownComponentError(error.what, expected="a path, or the name of a model", remedy=remedy) from error
    return Located(Path(resolved.build()), resolved.id)
