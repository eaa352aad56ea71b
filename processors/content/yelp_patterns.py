"""Patterns of detect-secrets (Yelp, Apache-2.0), read from the installed package as data.

Its plugins are not imported: they bring an HTTP client. Their sources are parsed, and each `re.compile` of a text that
is written out in a `denylist` becomes a rule. A pattern that is put together at run time, and one that RE2 refuses, are
listed in `Yelp.refused`; the project's own rules speak of the same providers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import NamedTuple

from processors.content.rules import RuleSet, TextRule
from processors.content.secret_rules import SecretRule

PACKAGE = "detect-secrets"
VERSION = "1.5.0"
SHA256 = "0110eda4fb984bf5e5c214e1671548e17060121fca4d6e209b1a415fe70588fd"
_FOLDER = "detect_secrets/plugins/"

# Not about tokens; or as wide as words: three letters and letters, a number with a colon.
_LEFT_OUT = frozenset({"ip_public", "base", "keyword", "high_entropy_strings", "__init__"})


# The plugins' names that are not the provider's.
_PROVIDERS = {
    "azure_storage_key": "azure", "cloudant": "ibm", "github_token": "github", "gitlab_token": "gitlab",
    "ibm_cloud_iam": "ibm", "ibm_cos_hmac": "ibm", "pypi_token": "pypi", "softlayer": "ibm", "square_oauth": "square",
    "telegram_token": "telegram",
}  # fmt: skip
# Entropy, where 2 bits are not enough: three letters and ten more are a word too.
_FLOORS = {"private_key": 0, "artifactory": 3000}


class Yelp(NamedTuple):
    """The patterns as read: `rules`, the names and reasons of those left out, and the digest of the sources."""

    rules: tuple[SecretRule, ...]
    refused: tuple[tuple[str, str], ...]
    digest: str


@cache
def read() -> Yelp:
    """Return the patterns of the installed package. Its sources must have the digest SHA256.

    Raises:
        RuntimeError: the package is missing, or its version or its sources are others than the pinned ones.
    """
    package = _package()
    written: list[TextRule] = []
    refused: list[tuple[str, str]] = []
    digest = sha256()
    for name, source in _plugins(package):
        digest.update(b"%s\0%d\0%s" % (name.encode(), len(source), source))
        for at, pattern in enumerate(_patterns(ast.parse(source))):
            if pattern is None:
                refused.append((f"{name}.{at}", "it is put together at run time"))
            else:
                written.append(TextRule(f"{name}.{at}", name, pattern))
    _, errors = RuleSet.accepted(written)
    refused += [(error.rule.name, error.why) for error in errors]
    rules = [_rule(rule) for rule in written if rule not in {error.rule for error in errors}]
    if digest.hexdigest() != SHA256:
        raise RuntimeError(f"{PACKAGE} {VERSION}: its plugins have the digest {digest.hexdigest()}, not {SHA256}")
    return Yelp(tuple(rules), tuple(refused), digest.hexdigest())


def _rule(rule: TextRule) -> SecretRule:
    plugin, _, at = rule.name.partition(".")
    return SecretRule(f"{_PROVIDERS.get(plugin, plugin)}.yelp_{at}", rule.pattern, _FLOORS.get(plugin, 2000))


def _package() -> Distribution:
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        raise RuntimeError(f"{PACKAGE} is not installed; install {PACKAGE}=={VERSION}") from None
    if package.version != VERSION:
        raise RuntimeError(f"{PACKAGE} {package.version} is installed; rules are those of {VERSION}: install that")
    return package


def _plugins(package: Distribution) -> Iterator[tuple[str, bytes]]:
    """Yield name and source of each plugin, in the order of names."""
    for path in sorted(package.files or (), key=str):
        name = str(path).removeprefix(_FOLDER).removesuffix(".py")
        if str(path) == f"{_FOLDER}{name}.py" and "/" not in name and name not in _LEFT_OUT:
            yield name, path.read_binary()


def _patterns(tree: ast.Module) -> Iterator[str | None]:
    """Yield the patterns of each `denylist`; None for one that is not written out. Flags become a prefix."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(to, ast.Name) and to.id == "denylist" for to in node.targets
        ):
            yield from (_pattern(item) for item in _items(node.value))


def _items(value: ast.expr) -> list[ast.expr]:
    """Return the members of a list, tuple or comprehension over a list that is written out; else the one value."""
    match value:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return items
        case ast.ListComp(
            elt=ast.Call(args=[ast.Name()]) as call, generators=[ast.comprehension(iter=ast.Tuple(elts=items))]
        ):
            return [ast.Call(call.func, [item], []) for item in items]
        case _:
            return [value]


def _pattern(item: ast.expr) -> str | None:
    if isinstance(item, ast.Call) and item.args:
        text = item.args[0]
        flags = " ".join(ast.unparse(one) for one in (*item.args[1:], *(each.value for each in item.keywords)))
        if isinstance(text, ast.Constant) and isinstance(text.value, str):
            return f"(?i){text.value}" if "IGNORECASE" in flags else text.value
    return None
