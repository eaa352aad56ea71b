"""Credentials of the views for the brokers: the settings of `producers/home/security.py` in Faust's form."""

from __future__ import annotations

import ssl

import faust
from faust.auth import Credentials

from producers.home.security import Security


def credentials_of(security: Security) -> Credentials | None:
    """Return Faust's credentials for these settings; None for `PLAINTEXT` brokers.

    Raises:
        OSError: a certificate or key file cannot be read.
    """
    protocol = security.get("security.protocol", "PLAINTEXT")
    context = _tls(security) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL_"):
        return faust.SASLCredentials(
            username=security["sasl.username"],
            password=security["sasl.password"],
            mechanism=security["sasl.mechanism"],
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context is not None else None


def _tls(security: Security) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=security.get("ssl.ca.location"))
    if "ssl.certificate.location" in security:
        context.load_cert_chain(
            security["ssl.certificate.location"],
            security.get("ssl.key.location"),
            # Called for an encrypted key only. Without it the library would ask for the password at the terminal.
            lambda: security.get("ssl.key.password", ""),
        )
    return context
