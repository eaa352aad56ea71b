"""Errors have one root and few families, and broad handlers stand only at the boundaries of trust."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from macaw.cli.terminal.errors import sentence
from processors.refusal import Refusal
from schemas import errors
from schemas.errors import MacawError
from tests.house import PACKAGES, ROOT, sources
from tests.rows import every

# Outcomes on their way to an entry, an answer or a usage message.
SIGNALS = {"Refusal", "DeniedCall", "WorkExceededError", "Fault", "HTTPRefusal", "OptionsError", "BrokenGateError"}
FAMILIES = [one for one in vars(errors).values() if isinstance(one, type) and MacawError in one.__bases__]


def modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        root = importlib.import_module(package)
        for found in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def test_every_public_error_has_a_family() -> None:
    """`except MacawError` catches every error of the project."""
    ours = {
        cls
        for module in modules()
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, BaseException) and cls.__module__.split(".")[0] in PACKAGES
    }
    public = {cls for cls in ours if not cls.__name__.startswith("_") and cls is not MacawError}

    assert 6 <= len(FAMILIES) <= 8
    assert {cls.__name__ for cls in public if not issubclass(cls, tuple(FAMILIES))} == SIGNALS


def test_a_refusal_reads_as_its_reason_and_detail() -> None:
    assert (
        str(Refusal("WRONG_PRINCIPAL", "the key belongs to another")) == "WRONG_PRINCIPAL: the key belongs to another"
    )
    assert str(Refusal("WRONG_PRINCIPAL")) == "WRONG_PRINCIPAL"


def test_only_errors_of_the_project_are_quoted_on_the_terminal() -> None:
    """The message of any other error may hold anything, a secret too."""
    assert sentence(errors.InputError("a file is missing")) == "a file is missing"
    assert "hunter2" not in sentence(ValueError("hunter2"))


def broad_handlers(path: Path) -> Iterator[tuple[int, bool]]:
    """Yield the line of each broad handler, and whether it ends in a raise or gives a reason."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node.type):
            raises = isinstance(node.body[-1], ast.Raise)
            reason = lines[node.lineno - 1].partition("#")[2].removeprefix(" noqa: BLE001").strip(" -")
            yield node.lineno, raises or bool(reason)


def _is_broad(node: ast.expr | None) -> bool:
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(one is None or (isinstance(one, ast.Name) and one.id in {"Exception", "BaseException"}) for one in names)


def test_a_broad_handler_raises_or_says_why() -> None:
    """A handler that keeps an unknown error to itself stands at a boundary of trust and gives its reason."""

    def holds(path: Path) -> None:
        assert [line for line, is_reasoned in broad_handlers(path) if not is_reasoned] == []

    every(sources(*PACKAGES), lambda p: str(p.relative_to(ROOT)), holds)
