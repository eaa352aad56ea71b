"""Claims mapping: from the claims of an identity provider to the attributes that policies read (docs/claims.md).

A provider's rules are values: no file is read here, and no token is verified. The choice of a mapping is never a
statement of trust; the caller verifies a token before it believes the mapped attributes.
"""
