"""Resource names and the patterns that meet them (docs/mapl.md 2)."""

import re
import unicodedata

from tests.reference.mapl.text import (
    NotDecodableError,
    fold,
    fold_literals,
    glob_tokens,
    has_dot_segment,
    has_outer_blanks,
    is_invisible,
    nfc,
    nfkc,
    percent_decode_once,
    tokens_match,
)

NAME_CODE_POINTS_MAX = 1024
DECODING_PASSES_MAX = 3
# ADR 0016: what looks like `/` or `\`, is no letter and stays under NFKC.
LOOKALIKES = set("\u1735\u2041\u2044\u2215\u2216\u2571\u2572\u27cb\u27cd\u29f5\u29f8\u29f9")
LOOKALIKES |= set("\U0001d20f\U0001d23a\U0001d23b")
DOMAIN = re.compile(r"[a-z][a-z0-9._-]{0,31}")
FOREIGN = re.compile(r"(@[a-z][a-z0-9-]{1,39}/)(.*)", re.DOTALL)


class InvalidResourceError(Exception):
    """RESOURCE_INVALID."""


def name_of(text: str, operation: str | None = None) -> str:
    """The name r of a call: NFC, with a domain. Raises InvalidResourceError, before any matching."""
    if operation is not None:  # the older form of a call: tool and operation apart
        text = f"{text}/{operation}" if ":" in text else f"tool:{text}/{operation}"
    name = with_domain(nfc(text))
    check_name(name, star=True)
    check_equivalent_spellings(name)
    return name


def with_domain(name: str) -> str:
    """A name without a domain gets `tool:`; in a foreign name it is the part behind `@tenant/` that needs one."""
    tenant, rest = split_foreign(name)
    if ":" not in rest and not rest.startswith("@"):
        rest = "tool:" + rest
    return tenant + rest


def split_foreign(name: str) -> tuple[str, str]:
    """("@tenant/", the part x), or ("", the whole name)."""
    found = FOREIGN.fullmatch(name)
    return (found[1], found[2]) if found else ("", name)


def domain_and_rest(name: str) -> tuple[str, str]:
    _, local = split_foreign(name)
    domain, _, rest = local.partition(":")
    return domain, rest


def check_name(name: str, *, star: bool) -> None:
    """The list of refusals in section 2. `star`: a `*` is refused too (written %2A it is a name's ordinary text)."""
    _, local = split_foreign(name)
    domain, colon, rest = local.partition(":")
    if (
        not colon
        or not DOMAIN.fullmatch(domain)
        or rest == ""
        or len(name) > NAME_CODE_POINTS_MAX
        or has_outer_blanks(name)
        or (star and "*" in name)
        or has_misleading_text(name)
        or has_dot_segment(rest)
        or has_bad_slashes(name)
    ):
        raise InvalidResourceError


def has_misleading_text(text: str) -> bool:
    """Control, invisible and unassigned characters."""
    return any(unicodedata.category(c) in {"Cc", "Cn", "Cs"} or is_invisible(c) for c in text)


def has_other_slashes(name: str) -> bool:
    """ADR 0016: what becomes a slash under NFKC, or looks like one, in any form; but not `½`, which NFKC spells out."""
    forms = [(form, LOOKALIKES) for form in (name, *decodings(name))]
    if any(separators(nfkc(form)) > separators(form) for form, _ in forms):
        return True
    forms += [(nfkc(form), LOOKALIKES - {"\u2044"}) for form in (nfkc(name), *decodings(nfkc(name)))]
    return any(set(form) & lookalikes for form, lookalikes in forms)


def separators(text: str) -> int:
    return sum(c in "/\\" for c in text)


def has_bad_slashes(name: str) -> bool:
    """`//` other than `://` or `:///`; `\\` counts as `/` (ADR 0016)."""
    name = name.replace("\\", "/")
    return any(len(run[0]) > 3 or not name[: run.start()].endswith(":") for run in re.finditer("//+", name))


def check_equivalent_spellings(name: str) -> None:
    """Section 2: the same refusals, except `*`, after NFKC and after each pass of percent-decoding."""
    if has_other_slashes(name):
        raise InvalidResourceError
    for spelling in (name, nfkc(name)):
        check_name(spelling, star=False)
        for decoded in decodings(spelling):
            check_name(decoded, star=False)
            check_name(nfkc(decoded), star=False)


def decodings(name: str) -> list[str]:
    """What up to three passes of percent-decoding give. Raises InvalidResourceError if a fourth would change it."""
    passes = []
    try:
        while (decoded := percent_decode_once(name)) != name:
            passes.append(decoded)
            name = decoded
            if len(passes) > DECODING_PASSES_MAX:
                raise InvalidResourceError
    except NotDecodableError:
        raise InvalidResourceError from None
    return passes


def restriction_forms(name: str) -> set[str]:
    """The folded forms that a restriction tries: r, d, and for a foreign name the part behind `@tenant/`.

    ADR 0016: each also with `\\` as `/`, and with runs of slashes as one and none at the end.
    """
    decoded = nfkc([name, *decodings(name)][-1]).rstrip("/")
    forms = {name, decoded}
    forms |= {form.replace("\\", "/") for form in forms}
    forms |= {re.sub("/+", "/", form).rstrip("/") for form in forms}
    forms |= {split_foreign(form)[1] for form in forms}
    return {fold(form) for form in forms}


def is_one_path(value: str) -> bool:
    """ADR 0016: a value may be met by a member with stars if a name may hold it, its domain and stars aside."""
    try:
        if has_other_slashes(value):
            return False
        forms = {value, nfkc(value), *decodings(value), *decodings(nfkc(value))}
    except InvalidResourceError:
        return False
    forms |= {nfkc(form) for form in forms}
    return not any(
        has_outer_blanks(form) or has_misleading_text(form) or has_dot_segment(form) or has_bad_slashes(form)
        for form in forms
    )


def restricts(pattern: str, name: str) -> bool:
    """Restriction position: every `*` is `**`, both sides folded, every form tried."""
    tokens = ["**" if token in {"*", "**"} else token for token in fold_literals(glob_tokens(pattern))]
    return any(tokens_match(tokens, form) for form in restriction_forms(name))


def grants(pattern: str, name: str) -> bool:
    """Grant position: case-sensitive, `*` stops at `/`, `domain:*` is the whole domain, `@t/` only by its literal."""
    tenant, local = split_foreign(name)
    if tenant:
        if not pattern.startswith(tenant):
            return False
        pattern = pattern[len(tenant) :]
    if pattern.endswith(":*") and DOMAIN.fullmatch(pattern[:-2]):
        return local.startswith(pattern[:-1])
    return tokens_match(glob_tokens(pattern), local)


def grants_a_spelling(pattern: str, name: str) -> bool:
    """ADR 0016: the stars of grant position, both sides folded, in every form that restrictions try."""
    tenant, _ = split_foreign(name)
    if not pattern.startswith(tenant):
        return False
    local = pattern[len(tenant) :]
    forms = [form.removeprefix(tenant) for form in restriction_forms(name) if form.startswith(tenant)]
    if local.endswith(":*") and DOMAIN.fullmatch(fold(local[:-2])):
        return any(form.startswith(fold(local[:-1])) for form in forms)
    return any(tokens_match(fold_literals(glob_tokens(local)), form) for form in forms)


def last_segment(name: str) -> str:
    """Section 11: the exact last `/`-segment of the name, its domain not counted; of `vault:` the second, its verb."""
    domain, rest = domain_and_rest(name)
    segments = rest.split("/")
    return (segments[1] if len(segments) > 1 else "") if domain == "vault" else segments[-1]


def app_of(name: str) -> str | None:
    """Section 6: the first segment if there are two or more, else none. A foreign tenant's app is no app here."""
    tenant, _ = split_foreign(name)
    segments = domain_and_rest(name)[1].split("/")
    return None if tenant or len(segments) < 2 else segments[0]
