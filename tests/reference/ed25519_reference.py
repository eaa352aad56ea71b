"""The points of Ed25519 by RFC 8032, section 5.1, in plain integers: what a strict verifier must ask about a key."""

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
IDENTITY = (0, 1, 1, 0)

Point = tuple[int, int, int, int]


def decode(encoding: bytes) -> Point | None:
    """Return the point with this encoding in extended coordinates, None where the encoding is not canonical."""
    if len(encoding) != 32:
        return None
    y = int.from_bytes(encoding, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    x = root((y * y - 1) * pow(D * y * y + 1, -1, P) % P)
    if x is None or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


def root(square: int) -> int | None:
    """Return a square root modulo P, None where there is none."""
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return None if (x * x - square) % P else x


def add(a: Point, b: Point) -> Point:
    """Return the sum of two points (RFC 8032, section 5.1.4)."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    i, j, k, m = f - e, h - g, h + g, f + e
    return (i * j % P, k * m % P, j * k % P, i * m % P)


def multiply(scalar: int, point: Point) -> Point:
    """Return `scalar` times `point`, by doubling and adding."""
    total = IDENTITY
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point = add(point, point)
        scalar >>= 1
    return total


def is_identity(point: Point) -> bool:
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


def is_good_key(encoding: bytes) -> bool:
    """Whether a public key is canonical, on the curve, and of the prime order L."""
    point = decode(encoding)
    return point is not None and not is_identity(point) and is_identity(multiply(L, point))


def is_large_order(encoding: bytes) -> bool:
    """Whether an encoding is canonical and its point outside the eight that vanish with the cofactor."""
    point = decode(encoding)
    return point is not None and not is_identity(multiply(8, point))
