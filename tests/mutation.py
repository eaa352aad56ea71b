"""Mutants of a module: one small change at a time, and whether the tests notice.

    python -m tests.mutation processors/policy/rates.py processors/policy/decide.py
    python -m tests.mutation processors/policy/stages.py --sample 60 --seed 2 --processes 2
    python -m tests.mutation processors/policy/stages.py --only 12 40 --tests tests/processors/policy/test_explain.py

Each mutant is imported in place of its module, in a process of its own that may use so much time and memory. It meets
the executable cases of the policy language, then the tests, until one fails. What nobody notices is printed with its
line and its number, for `--only`; then a line of counts for each module. The file itself is never touched.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import NamedTuple

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("schemas", "processors", "producers", "streams", "macaw", "tests")
CPU_SECONDS_MAX = 60  # of a mutant: one that computes longer is noticed, however busy the machine is
MEMORY_BYTES_MAX = 4 * 1024**3
PROCESSES_MAX = 2

# The quick tests that have something to say of a module; of others, those of decisions.
DECISIONS = tuple(f"policy/test_{name}" for name in ("decision_bounds", "plans", "broken_rules", "decide", "explain"))
_ON_THE_LOG = ("test_policies_on_the_log",)
_ATTESTED = ("policy/test_attesting", "workflow/test_approvals", "workflow/test_attestations")
_DELEGATED = ("workflow/test_delegations", "workflow/test_bad_delegations")
TESTS = {
    "attestations": (*_ATTESTED, *DECISIONS, "workflow/test_bad_approvals", "workflow/test_bad_attestations"),
    "decide": (*DECISIONS, "policy/test_attesting", *_ON_THE_LOG),
    "delegation": (*DECISIONS, *_DELEGATED),
    "denials": ("policy/test_parameters", *DECISIONS),
    "parameter_checks": ("policy/test_parameters", *DECISIONS, "policy/test_documents"),
    "plan": (*DECISIONS, "policy/test_attesting", *_ON_THE_LOG),
    "judge": (
        "policy/test_decisions_on_tables",
        *_ON_THE_LOG,
        *_ATTESTED,
        *_DELEGATED,
        "workflow/test_prompts",
        "test_calls",
        "test_denied_calls",
    ),
    "rates": (*DECISIONS, *_ON_THE_LOG),
    "resolve": ("policy/test_resolve", *DECISIONS, "policy/test_conditions", "policy/test_documents"),
    "sequences": ("policy/test_sequence_rules", *DECISIONS, "policy/test_documents", *_ON_THE_LOG),
    "stages": (*DECISIONS, "policy/test_parameters", "policy/test_sequence_rules", *_ATTESTED, *_ON_THE_LOG),
    "verdict": (*DECISIONS, *_ATTESTED),
}

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)  # their change is not their opposite
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
_NAMED = {"any": "all", "all": "any", "min": "max", "max": "min"}
_Make = Callable[[], None]


class Change(NamedTuple):
    """A change that can be made to a tree: on which line, what, and how."""

    line: int
    what: str
    make: _Make


# ---- what can be changed


def changes(tree: ast.AST) -> Iterator[Change]:
    """Yield every change that a tree offers, in an order that depends on nothing else."""
    for node in _code(tree):
        for what, make in (*_of_operator(node), *_of_value(node)):
            yield Change(getattr(node, "lineno", 0), what, make)
        if isinstance(node, ast.If | ast.IfExp | ast.While):
            yield from _of_test(node)
        if isinstance(node, ast.comprehension) and node.ifs:
            yield Change(node.ifs[0].lineno, "filter removed", _setting(node, "ifs", []))
        for body in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(body, list):
                yield from _of_body(body)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs: no annotations, decorators, assertions or f-strings."""
    yield node
    left_out = {"annotation", "returns", "decorator_list"}
    for name, value in ast.iter_fields(node):
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, ast.AST) and name not in left_out and not isinstance(one, ast.Assert | ast.JoinedStr):
                yield from _code(one)


def _setting(node: ast.AST, name: str, value: object) -> _Make:
    return lambda: setattr(node, name, value)


def _placing(items: list[ast.cmpop] | list[ast.stmt], at: int, other: ast.AST) -> _Make:
    return lambda: items.__setitem__(at, other)  # type: ignore[call-overload]


def _turned(old: ast.AST, new: ast.AST) -> str:
    return f"{type(old).__name__} -> {type(new).__name__}"


def _of_operator(node: ast.AST) -> Iterator[tuple[str, _Make]]:
    match node:
        case ast.Compare():
            for at, operator in enumerate(node.ops):
                compared = _COMPARED[type(operator)]()
                yield _turned(operator, compared), _placing(node.ops, at, compared)
        case ast.BoolOp():
            joined = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield _turned(node.op, joined), _setting(node, "op", joined)
        case ast.BinOp() if type(node.op) in _COMPUTED:
            computed = _COMPUTED[type(node.op)]()
            yield _turned(node.op, computed), _setting(node, "op", computed)
        case ast.UnaryOp(op=ast.Not()):
            yield "not removed", _setting(node, "op", ast.UAdd())  # see `_Plain`
        case ast.Call(func=ast.Name(id=called)) if called in _NAMED:
            yield f"{called} -> {_NAMED[called]}", _setting(node.func, "id", _NAMED[called])


def _of_value(node: ast.AST) -> Iterator[tuple[str, _Make]]:
    match node:
        case ast.Constant(value=bool(value)):
            yield f"{value} -> {not value}", _setting(node, "value", not value)
        case ast.Constant(value=int(value)):
            for other in (value + 1, value - 1):
                yield f"{value} -> {other}", _setting(node, "value", other)
        case ast.Return(value=ast.expr() as returned) if not (
            isinstance(returned, ast.Constant) and returned.value is None
        ):
            yield "returns None", _setting(node, "value", ast.Constant(None))


def _of_test(node: ast.If | ast.IfExp | ast.While) -> Iterator[Change]:
    """Yield what can become of a test, but for what one of its own changes does already."""
    test = node.test
    yield Change(test.lineno, "test -> False", _setting(node, "test", ast.Constant(False)))
    by_itself = isinstance(test, ast.UnaryOp) or (
        isinstance(test, ast.Compare) and len(test.ops) == 1 and not isinstance(test.ops[0], _ORDERED)
    )
    if not by_itself and not isinstance(node, ast.While):
        yield Change(test.lineno, "test -> not", _setting(node, "test", ast.UnaryOp(ast.Not(), test)))


def _of_body(body: list[ast.stmt]) -> Iterator[Change]:
    for at, one in enumerate(body):
        removable = isinstance(one, ast.Raise | ast.Continue | ast.Break | ast.AugAssign | ast.Expr)
        if removable and not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)):
            yield Change(one.lineno, "removed", _placing(body, at, ast.Pass()))


class _Plain(ast.NodeTransformer):
    """Puts the operand for `+operand`: how a removed `not` is marked, which no module of ours writes otherwise."""

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return node.operand if isinstance(node.op, ast.UAdd) else node


def mutated(source: str, at: int) -> tuple[ast.Module, Change]:
    """Return a module with one of its changes made, and which."""
    tree = ast.parse(source)
    change = list(changes(tree))[at]
    change.make()
    return ast.fix_missing_locations(_Plain().visit(tree)), change


# ---- one mutant


class _Mutated(SourceFileLoader):
    """Loads a module from a tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        super().__init__(name, str(path))
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.get_filename(fullname), "exec")


class _Finder:
    """Finds one module before any other finder does."""

    def __init__(self, loader: _Mutated) -> None:
        self._loader = loader

    def find_spec(self, name: str, _path: object, _target: object = None) -> ModuleSpec | None:
        if name != self._loader.name:
            return None
        return importlib.util.spec_from_file_location(name, self._loader.path, loader=self._loader)


def _name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _start(path: Path, tree: ast.Module, tests: Sequence[str]) -> int:
    """Return the process that plays a module in this form; it ends with 0 if all is as it was."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.meta_path.insert(0, _Finder(_Mutated(_name_of(path), path, tree)))
        code = 0 if _cases_pass() else 1
        if code == 0 and tests:
            options = ["-q", "-x", "--noconftest", "--assert=plain", "-p", "no:cacheprovider"]
            code = int(pytest.main([*options, *tests]))
    finally:
        os._exit(code)


def _cases_pass() -> bool:
    from macaw.policies.cases import play_case  # imported with the mutant in place
    from tests.processors.policy.test_conformance import FILES
    from tests.processors.policy.test_edges import EDGES, OPEN

    rows = ((file, case) for file in (*FILES.values(), EDGES) for _, case in file.cases if case["id"] not in OPEN)
    return all(play_case(file, case).passed for file, case in rows)


def _import_what_stays(path: Path) -> None:
    """Import, once for all processes, what does not depend on a module: others' part of the tests, and its own imports.

    Whatever depends on the module is imported in each process, after the mutant.
    """
    for name in ("tests.processors.policy.test_conformance", "tests.world", "hypothesis.strategies"):
        importlib.import_module(name)
    for name in [one for one in sys.modules if one.partition(".")[0] in OURS]:
        del sys.modules[name]
    name = _name_of(path)
    importlib.import_module(name)
    del sys.modules[name]
    package, _, last = name.rpartition(".")
    delattr(sys.modules[package], last)  # else `from package import module` would find the module as it was
    # Else a test that draws would notice by luck, or draw again what an earlier mutant failed on.
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")


# ---- all of them


def play(path: Path, wanted: Sequence[int], tests: Sequence[str], processes: int) -> Iterator[tuple[int, Change, int]]:
    """Yield each wanted mutant's number, its change, and the status with which its process ended, as they end."""
    source = path.read_text("utf-8")
    running: dict[int, tuple[int, Change]] = {}
    for at in wanted:
        if len(running) >= processes:
            yield _ended(running)
        tree, change = mutated(source, at)
        running[_start(path, tree, tests)] = at, change
    while running:
        yield _ended(running)


def _ended(running: dict[int, tuple[int, Change]]) -> tuple[int, Change, int]:
    child, status = os.wait()
    at, change = running.pop(child)
    return at, change, status


def report(path: Path, given: argparse.Namespace) -> int:
    """Print the mutants of a module that no test notices, then its counts. Return how many they are."""
    _import_what_stays(path)
    shown, source = path.relative_to(ROOT), path.read_text("utf-8")
    tests = given.tests or [f"tests/processors/{name}.py" for name in TESTS.get(path.stem, DECISIONS)]
    if os.waitpid(_start(path, ast.parse(source), tests), 0)[1] != 0:
        raise SystemExit(f"{shown}: the tests fail without any change")
    every = range(len(list(changes(ast.parse(source)))))
    wanted: Sequence[int] = given.only or every
    if 0 < given.sample < len(wanted):
        wanted = sorted(random.Random(given.seed).sample(wanted, given.sample))
    unnoticed = slow = 0
    for at, change, status in play(path, wanted, tests, given.processes):
        slow += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
        if status == 0:
            unnoticed += 1
            line = source.splitlines()[change.line - 1].strip()
            print(f"{shown}:{change.line}: #{at}: {change.what}: {line}", flush=True)
    played = f"{len(every)} possible, {len(wanted)} played, {len(wanted) - unnoticed} noticed ({slow} by the time)"
    print(f"{shown}: {played}, {unnoticed} unnoticed", flush=True)
    return unnoticed


def main() -> int:
    """Play modules one after the other; 1 if a mutant is not noticed."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    arguments.add_argument("modules", type=lambda text: Path(text).resolve(), nargs="+")
    arguments.add_argument("--tests", nargs="+", help="what pytest is told; else those that TESTS names")
    arguments.add_argument("--sample", type=int, default=0, help="how many mutants at most; 0 is all")
    arguments.add_argument("--seed", type=int, default=1, help="of the sample")
    arguments.add_argument("--only", type=int, nargs="+", help="the numbers of the mutants to play")
    arguments.add_argument("--processes", type=int, default=1, choices=range(1, PROCESSES_MAX + 1))
    given = arguments.parse_args()
    return 1 if sum([report(path, given) for path in given.modules]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
