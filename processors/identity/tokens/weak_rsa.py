"""RSA moduli that can be factored in short time, found by cheap looks; a modulus that passes may still be weak.

Three faults of generators are looked for: a small factor, two factors that lie close together (CVE-2022-26320), and the
form of the primes of one maker's chips (CVE-2017-15361, ROCA), by its fingerprint.
"""

from __future__ import annotations

from math import gcd, isqrt, prod

_PRIMES = tuple(n for n in range(3, 752, 2) if all(n % d for d in range(3, isqrt(n) + 1, 2)))
_PRODUCT = 2 * prod(_PRIMES)
_CLOSE_STEPS = 64  # of Fermat's method; the published weak keys fall in the first few

# Moduli of those chips are powers of 65537 modulo each of these primes. Of others one in 2^27 is.
_ROCA_PRIMES = tuple(p for p in _PRIMES if p <= 167)


def _powers(prime: int) -> frozenset[int]:
    return frozenset(pow(65537, exponent, prime) for exponent in range(prime - 1))


_ROCA = {prime: _powers(prime) for prime in _ROCA_PRIMES}


def is_weak(modulus: int) -> bool:
    """Return True if a modulus has a factor below 752, two close factors, or the ROCA fingerprint.

    Requires modulus > 0.
    """
    return gcd(modulus, _PRODUCT) != 1 or _has_roca_fingerprint(modulus) or _has_close_factors(modulus)


def _has_roca_fingerprint(modulus: int) -> bool:
    return all(modulus % prime in powers for prime, powers in _ROCA.items())


def _has_close_factors(modulus: int) -> bool:
    middle = isqrt(modulus - 1) + 1
    for centre in range(middle, middle + _CLOSE_STEPS):
        rest = centre * centre - modulus
        if isqrt(rest) ** 2 == rest:
            return True
    return False
