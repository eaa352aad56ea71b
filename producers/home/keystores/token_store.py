"""Pairs on a PKCS#11 token. Their secret halves never enter this process: it asks the token to sign and to derive.

The token needs CKM_EDDSA, CKM_EC_EDWARDS_KEY_PAIR_GEN, and CKM_ECDH1_DERIVE on Curve25519 keys of type CKK_EC_EDWARDS,
as SoftHSM has them. The result of a derivation enters the process: it opens the messages between two keys, no other.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processors.proof.hsalsa20 import hsalsa20
from processors.proof.sealing import SealingError, SealingKey
from processors.proof.signing import (
    KEY_BYTES,
    OneSignature,
    SignatureError,
    check_public_key,
    kid_of,
    verify_signature,
)
from producers.home.keys import KeyPair
from producers.home.keystores.errors import TokenError
from producers.home.keystores.pem import NotAPairError, Publics, secrets_of
from producers.home.keystores.reference import Reference
from producers.home.keystores.token_session import TokenSession, logged_in
from producers.home.keystores.token_uri import TokenURI

if TYPE_CHECKING:
    from pkcs11 import PrivateKey, Session

CHECK_TAG = b"macaw/token-check/v1\n"
_ED25519 = bytes.fromhex("06032b6570")  # the curves' object identifiers in DER (RFC 8410)
_X25519 = bytes.fromhex("06032b656e")
_POINT_PREFIX = b"\x04\x20"  # of a point as a DER octet string; some tokens give it bare
_ID_BYTES = 16
_ANY = SealingKey.from_secret(bytes(KEY_BYTES))


class TokenSigningKey(OneSignature):
    """An Ed25519 key on a token. Its repr shows the public half only."""

    __slots__ = ("_key", "_token", "kid", "public")

    def __init__(self, token: TokenSession, key: PrivateKey, public: bytes) -> None:
        self._token, self._key = token, key
        self.public, self.kid = public, kid_of(public)

    def __repr__(self) -> str:
        return f"TokenSigningKey({self.kid.hex()[:16]}…)"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`. Raises TokenError if the token does not make it."""
        from pkcs11 import Mechanism

        signing: Any = self._key
        signature: bytes = self._token.run(lambda _: signing.sign(message, mechanism=Mechanism.EDDSA))
        return signature


class TokenSealingKey:
    """An X25519 key on a token. Its repr shows the public half only."""

    __slots__ = ("_key", "_token", "public")

    def __init__(self, token: TokenSession, key: PrivateKey, public: bytes) -> None:
        self._token, self._key, self.public = token, key, public

    def __repr__(self) -> str:
        return f"TokenSealingKey({self.public.hex()[:16]}…)"

    def shared_with(self, public: bytes) -> bytes:
        """Return the precomputed key shared with `public`.

        Raises:
            SealingError: the key has small order.
            TokenError: the token does not derive.
        """
        _ANY.shared_with(public)  # a key of small order is told from the others by any secret
        raw = self._token.run(lambda _: _derived(self._key, public))
        if len(raw) != KEY_BYTES or raw == bytes(KEY_BYTES):
            raise SealingError("the recipient's X25519 key is not usable")
        return hsalsa20(raw)


class TokenStore:
    """Pairs on one token. Their files refer to two objects by CKA_ID."""

    def __init__(self, name: str, uri: TokenURI) -> None:
        self._name, self._uri = name, uri

    def create(self, label: str) -> tuple[KeyPair, bytes]:
        from pkcs11 import Attribute

        ids = os.urandom(_ID_BYTES), os.urandom(_ID_BYTES)
        token = self._token()
        try:
            points = token.write(lambda session: [one[Attribute.EC_POINT] for one in _generated(session, ids, label)])
            reference = self._reference(Publics(*map(_bare, points)), ids)
            return self._pair(token, reference, label), reference.written()
        except BaseException:
            self._destroy(token, ids)
            raise

    def put(self, pair: KeyPair, label: str) -> bytes:
        secrets = secrets_of(pair)
        ids = os.urandom(_ID_BYTES), os.urandom(_ID_BYTES)
        token, reference = self._token(), self._reference(Publics.of(pair), ids)
        try:
            token.write(lambda session: _imported(session, ids, label, secrets))
            self._pair(token, reference, label)
        except BaseException:
            self._destroy(token, ids)
            raise
        return reference.written()

    def load(self, text: bytes, path: Path) -> KeyPair:
        return self._pair(self._token(), Reference.read(text), str(path))

    def publics(self, text: bytes) -> Publics:
        return Reference.read(text).publics

    def forget(self, text: bytes) -> None:
        self._destroy(self._token(), _ids(Reference.read(text)))

    def _token(self) -> TokenSession:
        return logged_in(self._name, self._uri)

    def _reference(self, publics: Publics, ids: tuple[bytes, bytes]) -> Reference:
        return Reference(self._name, publics, " ".join(one.hex() for one in ids))

    def _pair(self, token: TokenSession, reference: Reference, about: str) -> KeyPair:
        """Return the keys on the token, once they have shown that they are those of the reference.

        Public objects are not asked: the token may lack them, and a signature proves more.
        """
        signing_id, sealing_id = _ids(reference)
        ed25519, x25519 = reference.publics
        where = f"{about}: token {self._name!r}"
        signing = TokenSigningKey(token, token.run(lambda s: _found(s, signing_id, "sign", where)), ed25519)
        sealing = TokenSealingKey(token, token.run(lambda s: _found(s, sealing_id, "derive_key", where)), x25519)
        message = CHECK_TAG + os.urandom(KEY_BYTES)
        other = SealingKey.from_secret(os.urandom(KEY_BYTES))
        try:
            check_public_key(ed25519)
            verify_signature(ed25519, message, signing.sign(message))
        except SignatureError:
            raise TokenError(
                f"{where} holds another key than {ed25519.hex()[:16]}…, which the file names{_AGAIN}"
            ) from None
        if sealing.shared_with(other.public) != other.shared_with(x25519):
            raise TokenError(f"{where} holds another key than {x25519.hex()[:16]}…, which the file names{_AGAIN}")
        return KeyPair(signing, sealing)

    @staticmethod
    def _destroy(token: TokenSession, ids: tuple[bytes, bytes]) -> None:
        from pkcs11 import Attribute

        def destroy(session: Session) -> None:
            for one in [found for id_ in ids for found in list(session.get_objects({Attribute.ID: id_}))]:
                one.destroy()

        token.write(destroy)


_AGAIN = ": put the right token in, or register a new key"


def _ids(reference: Reference) -> tuple[bytes, bytes]:
    parts = reference.entry.split(" ")
    try:
        first, second = map(bytes.fromhex, parts)
    except ValueError:
        first = second = b""
    if not len(first) == len(second) == _ID_BYTES or first == second:
        raise NotAPairError("its entry must be two ids of a token's objects")
    return first, second


def _generated(session: Session, ids: tuple[bytes, bytes], label: str) -> list[Any]:
    """Make both pairs on the token, not to be taken from it, and return their public objects."""
    from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

    made = []
    for id_, params, capabilities in (
        (ids[0], _ED25519, MechanismFlag.SIGN | MechanismFlag.VERIFY),
        (ids[1], _X25519, MechanismFlag.DERIVE),
    ):
        parameters = session.create_domain_parameters(KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: params}, local=True)
        public, _ = parameters.generate_keypair(
            id=id_,
            label=label,
            store=True,
            capabilities=capabilities,
            mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
        )
        made.append(public)
    return made


def _imported(session: Session, ids: tuple[bytes, bytes], label: str, secrets: tuple[bytes, bytes]) -> None:
    from pkcs11 import Attribute, KeyType, ObjectClass

    for id_, params, use, secret in (
        (ids[0], _ED25519, Attribute.SIGN, secrets[0]),
        (ids[1], _X25519, Attribute.DERIVE, secrets[1]),
    ):
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.PRIVATE_KEY,
                Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
                Attribute.TOKEN: True,
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                use: True,
                Attribute.ID: id_,
                Attribute.LABEL: label,
                Attribute.EC_PARAMS: params,
                Attribute.VALUE: secret,
            }
        )


def _found(session: Session, id_: bytes, use: str, where: str) -> Any:
    """Return the one private key with an id, of a type that serves. Raises TokenError."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    found: list[Any] = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: id_}))
    if len(found) != 1:
        raise TokenError(
            f"{where} has {len(found)} private keys with the id {id_.hex()}, where one must be: "
            + ("remove the doubled one" if found else "it may be another token with the same name")
        )
    [key] = found
    if key.key_type != KeyType.EC_EDWARDS or not hasattr(key, use):
        raise TokenError(f"{where} has a key of another type under the id {id_.hex()}: see docs/keys.md for the types")
    return key


def _derived(key: Any, public: bytes) -> bytes:
    """Return the raw secret that two X25519 keys share, and remove it from the token's memory."""
    from pkcs11 import KDF, Attribute, KeyType, Mechanism

    shared = key.derive_key(
        KeyType.GENERIC_SECRET,
        8 * KEY_BYTES,
        mechanism=Mechanism.ECDH1_DERIVE,
        mechanism_param=(KDF.NULL, None, public),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )
    try:
        value: bytes = shared[Attribute.VALUE]
        return value
    finally:
        shared.destroy()


def _bare(point: bytes) -> bytes:
    """Return a public key without the DER around it. Raises TokenError."""
    bare = point.removeprefix(_POINT_PREFIX) if len(point) == KEY_BYTES + len(_POINT_PREFIX) else point
    if len(bare) != KEY_BYTES:
        raise TokenError(f"the token gives a public key of {len(bare)} bytes, want {KEY_BYTES}")
    return bare
