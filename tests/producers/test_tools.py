import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import ModuleType

import pytest

from producers.tools import (
    ToolArgumentError,
    ToolDeclarationError,
    ToolFunction,
    bind_arguments,
    collect_tools,
    load_tools,
    tool,
)

SOURCE = '''
"""Tools of a test."""
from producers.tools import tool
from greetings_of_others import imported

@tool
def second_in_the_alphabet(name: str) -> str:
    """Greet a person.

    Never shown.
    """
    return f"hello {name}"

@tool(name="another", description="Said by hand.", timeout_seconds=2.5, idempotent=True)
async def first_in_the_alphabet() -> None: ...

def unmarked() -> None: ...

class Counter:
    """Counts."""

    @tool
    def count(self, step: int = 1) -> int:
        """Count on."""
        return step

def build() -> Counter:
    return Counter()

ready = Counter()
'''


class Tools:
    """An object with tools of each kind of method, and a property that must not run."""

    @tool
    def add(self, a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    @staticmethod
    @tool
    def constant() -> int:
        """Return seven."""
        return 7

    @tool
    @classmethod
    def owner(cls) -> str:
        """Return the name of the class."""
        return cls.__name__

    @property
    def trap(self) -> int:
        raise AssertionError("a property was read")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "greetings_of_others.py").write_text(
        "from producers.tools import tool\n\n@tool\ndef imported() -> None: ...\n", encoding="utf-8"
    )
    path = tmp_path / "greetings.py"
    path.write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    for name in ("greetings", "greetings_of_others", "macaw_tool_file_greetings"):
        sys.modules.pop(name, None)


def only(function: object) -> ToolFunction:
    (found,) = collect_tools(function)
    return found


def names(spec: str) -> list[str]:
    return [found.name for found in load_tools(spec)]


def test_a_marked_function_stays_the_function_it_was():
    """Marking adds nothing to a call and takes nothing away."""

    def double(n: int) -> int:
        return 2 * n

    assert tool(double) is double
    assert tool(name="x")(double) is double
    assert double(4) == 8


def test_a_module_offers_its_own_tools_in_the_order_of_its_text(source: Path):
    """Definition order is kept, and a tool that the module only imported is not its own."""
    first, second = load_tools("greetings")

    assert (first.name, first.description, first.is_async) == ("second_in_the_alphabet", "Greet a person.", False)
    assert (first.timeout_seconds, first.idempotent) == (30.0, False)
    assert (second.name, second.description, second.is_async) == ("another", "Said by hand.", True)
    assert (second.timeout_seconds, second.idempotent) == (2.5, True)


def test_an_object_offers_bound_methods_and_no_property_is_run():
    """What is collected from an object can be called without the object."""
    add, constant, owner = collect_tools(Tools())

    assert (add.name, add.function(a=1)) == ("add", 3)
    assert (constant.name, constant.function()) == ("constant", 7)
    assert (owner.name, owner.function()) == ("owner", "Tools")


def test_tools_load_from_modules_files_objects_and_factories(source: Path):
    """Each documented form of a spec finds its tools."""
    both = ["second_in_the_alphabet", "another"]

    assert names("greetings") == both
    assert names(str(source)) == both
    assert names("greetings:ready") == names("greetings:build") == names("greetings:Counter") == ["count"]
    assert names(f"{source}:build") == ["count"]
    assert names("greetings:first_in_the_alphabet") == ["another"]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("no_such_module_anywhere", "there is no module"),
        ("no_such_module_anywhere.inner", "there is no module"),
        ("no/such/file.py", "there is no file"),
        ("greetings:nothing", "has no attribute 'nothing'"),
        ("greetings:unmarked", "declares no tool"),
        ("greetings:not an identifier", "does not name tools"),
        (":build", "does not name tools"),
        (".greetings", "neither a module nor a path"),
        ("", "neither a module nor a path"),
        ("json", "declares no tool"),
    ],
)
def test_a_spec_that_leads_nowhere_is_refused_with_a_sentence(source: Path, spec: str, sentence: str):
    """A typing error in a spec is told apart from an error in the author's code."""
    with pytest.raises(ToolDeclarationError, match=sentence):
        load_tools(spec)


def test_an_error_in_the_authors_module_is_the_authors_to_see(source: Path):
    """A failing import inside the module is not reworded into 'there is no module'."""
    source.write_text("import a_module_that_is_not_installed\n", encoding="utf-8")

    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        load_tools("greetings")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        load_tools(str(source))


def test_two_tools_of_one_name_are_refused():
    """The second declaration does not silently replace the first."""

    class Twice:
        @tool
        def read(self) -> None: ...

        @tool(name="read")
        def read_again(self) -> None: ...

    with pytest.raises(ToolDeclarationError, match="'read' twice"):
        collect_tools(Twice())


def test_parameters_that_no_name_reaches_are_refused():
    """A call carries names, so positional-only parameters and *args can never be filled."""

    @tool
    def positional(a: int, /) -> None: ...

    @tool
    def gathering(*rest: int) -> None: ...

    with pytest.raises(ToolDeclarationError, match="'a' is positional-only"):
        collect_tools(positional)
    with pytest.raises(ToolDeclarationError, match=r"'\*rest' takes unnamed values"):
        collect_tools(gathering)


@pytest.mark.parametrize("name", ["a/b", "a*", "a b", "1st", "", "ä", "a:b"])
def test_a_name_that_cannot_end_a_resource_is_refused(name: str):
    """A separator or a wildcard in a tool's name would change what a policy says about it."""

    def function() -> None: ...

    function.__name__ = name
    with pytest.raises(ToolDeclarationError, match="cannot name a tool"):
        collect_tools(tool(function))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_no_positive_time_is_refused(seconds: float):
    """Nothing waits forever, and nothing times out before it began."""

    def function() -> None: ...

    with pytest.raises(ToolDeclarationError, match="timeout"):
        collect_tools(tool(timeout_seconds=seconds)(function))


def test_an_empty_source_offers_nothing_and_says_so():
    """No tool at all is a mistake of the author's, not an empty success."""
    with pytest.raises(ToolDeclarationError, match="module 'empty' declares no tool"):
        collect_tools(ModuleType("empty"))
    with pytest.raises(ToolDeclarationError, match="'object' object declares no tool"):
        collect_tools(object())


def test_an_overriding_method_without_a_mark_is_no_tool():
    """A subclass can withdraw a tool by overriding it."""

    class Narrower(Tools):
        def add(self, a: int, b: int = 2) -> int:
            return 0

    assert [found.name for found in collect_tools(Narrower())] == ["constant", "owner"]


def test_arguments_are_bound_by_name_with_defaults_filled_in():
    """The bound arguments can be called as they are."""
    add = collect_tools(Tools())[0]

    bound = bind_arguments(add, {"a": 5})

    assert bound.arguments == {"a": 5, "b": 2}
    assert add.function(*bound.args, **bound.kwargs) == 7


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "tool 'add': /a: missing"),
        ({"a": 1, "c": 2}, "tool 'add': /c: unexpected"),
        ({"c": 2, "self": 3}, "tool 'add': /c: unexpected; /self: unexpected; /a: missing"),
    ],
)
def test_arguments_that_do_not_fit_are_all_named(parameters: dict[str, object], sentence: str):
    """The caller learns every missing and every unexpected parameter at once."""
    with pytest.raises(ToolArgumentError) as caught:
        bind_arguments(collect_tools(Tools())[0], parameters)

    assert str(caught.value) == sentence


def test_a_tool_that_takes_any_name_is_given_any_name():
    """With **rest nothing is unexpected, and what is required stays required."""

    @tool
    def record(kind: str, **rest: object) -> dict[str, object]:
        return {"kind": kind, **rest}

    bound = bind_arguments(only(record), {"kind": "x", "n": 1})

    assert record(*bound.args, **bound.kwargs) == {"kind": "x", "n": 1}
    with pytest.raises(ToolArgumentError, match="/kind: missing"):
        bind_arguments(only(record), {"n": 1})


def test_a_tool_function_does_not_change():
    """What a host has registered stays what it registered."""
    found = collect_tools(Tools())[0]

    with pytest.raises(FrozenInstanceError):
        found.name = "other"  # type: ignore[misc]
