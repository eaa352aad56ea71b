"""Publishing and withdrawing documents: the refusals that need the store (docs/mapl.md 1)."""

from tests.reference.mapl.chains import CHAIN_DOCUMENTS_MAX
from tests.reference.mapl.documents import Document, check_prefix, parse_document
from tests.reference.mapl.refusals import RefusedError

DOCUMENTS_MAX = 64
UNCHECKED = "unchecked"  # a case that does not say what it replaces

Store = dict[str, str]


def publish(
    store: Store, texts: list[str], *, previous: list[str | None] | None = None, signer: str = "admin"
) -> Store:
    """The store with all documents of one event. Raises RefusedError, and then none is taken.

    `previous` holds per document the digest it replaces, None for "must not exist"; left out, it is not checked.
    """
    if signer not in {"admin", "organisation"}:
        raise RefusedError("E_SIGNER")
    if not 1 <= len(texts) <= DOCUMENTS_MAX:
        raise RefusedError("E_LIMIT")
    documents = [parse_document(text, signer=signer) for text in texts]
    check_previous(store, documents, previous)
    after = store | {d.policy_id: text for d, text in zip(documents, texts, strict=True)}
    for policy_id in sorted(after):
        check_chain(after, policy_id, published={d.policy_id for d in documents})
    return after


def withdraw(store: Store, policy_id: str, *, previous: str = UNCHECKED, signer: str = "admin") -> Store:
    if signer not in {"admin", "organisation"}:
        raise RefusedError("E_SIGNER")
    check_prefix(policy_id, signer)
    if policy_id not in store or previous not in {UNCHECKED, parse_document(store[policy_id]).digest}:
        raise RefusedError("E_CONFLICT")
    if any(parse_document(text).extends == policy_id for text in store.values()):
        raise RefusedError("E_DEPENDENTS")
    return {name: text for name, text in store.items() if name != policy_id}


def check_previous(store: Store, documents: list[Document], previous: list[str | None] | None) -> None:
    ids = [d.policy_id for d in documents]
    if len(set(ids)) != len(ids):
        raise RefusedError("E_CONFLICT", "/policy_id")
    for policy_id, expected in zip(ids, previous or [], strict=previous is not None):
        found = parse_document(store[policy_id]).digest if policy_id in store else None
        if found != expected:
            raise RefusedError("E_CONFLICT", "/policy_id")


def check_chain(store: Store, policy_id: str, *, published: set[str]) -> None:
    """Of what is published, and of what extends it: the new version of a parent is judged too."""
    ids = [policy_id]
    while (parent := parse_document(store[ids[-1]]).extends) is not None:
        if parent in ids:
            code = "E_EXTENDS_CYCLE"
        elif parent not in store:
            code = "E_EXTENDS_UNKNOWN"
        elif len(ids) == CHAIN_DOCUMENTS_MAX:
            code = "E_EXTENDS_DEPTH"
        else:
            ids.append(parent)
            continue
        if published & set(ids):
            raise RefusedError(code, "/extends")
        return
