"""Importing the module or the file that holds tools."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from schemas.errors import MisuseError


class ToolDeclarationError(MisuseError):
    """A declaration, or the place where tools are looked for, cannot be offered as tools."""


def module_in(spec: str) -> tuple[ModuleType, str]:
    """Return the module that `spec` names, imported, and the name of an attribute in it, empty for the module itself.

    Raises:
        ToolDeclarationError: there is no such module or file.
    """
    place, attribute = _split(spec)
    return _import_file(Path(place)) if place.endswith(".py") else _import_module(place), attribute


def _split(spec: str) -> tuple[str, str]:
    place, separator, attribute = spec.rpartition(":")
    if not separator:
        return spec, ""
    if not place or not attribute.isidentifier():
        raise ToolDeclarationError(
            f"{spec[:120]!r} does not name tools: give 'module:attribute' or 'file.py:attribute'"
        )
    return place, attribute


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ToolDeclarationError(f"{name[:120]!r} is neither a module nor a path that ends in '.py'")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        # A module that the author's code fails to import is the author's traceback to read, not ours to reword.
        if exc.name is None or not (name == exc.name or name.startswith(f"{exc.name}.")):
            raise
        raise ToolDeclarationError(f"there is no module {name[:120]!r} to load tools from") from exc


def _import_file(path: Path) -> ModuleType:
    """Import a file under a name of its own, so that it can shadow no installed module."""
    if not path.is_file():
        raise ToolDeclarationError(f"there is no file {str(path)[:120]!r} to load tools from")
    name = f"macaw_tool_file_{re.sub(r'[^A-Za-z0-9_]', '_', path.stem)}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
