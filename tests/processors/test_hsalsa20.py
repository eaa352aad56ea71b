"""The key of a box made from a raw secret is the one that libsodium makes in a single step."""

from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from processors.proof.hsalsa20 import hsalsa20

secrets = st.binary(min_size=32, max_size=32)


@given(secrets, secrets)
def test_a_raw_secret_gives_the_librarys_key(mine: bytes, theirs: bytes) -> None:
    public = bindings.crypto_scalarmult_base(theirs)

    assert hsalsa20(bindings.crypto_scalarmult(mine, public)) == bindings.crypto_box_beforenm(public, mine)


def test_the_published_vector() -> None:
    """The first key of "Cryptography in NaCl" (Bernstein, 2009), sections 5 and 8."""
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")

    assert hsalsa20(shared).hex() == "1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"
