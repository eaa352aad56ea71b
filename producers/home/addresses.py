"""Addresses of this machine, as they stand in settings and in URLs."""

from __future__ import annotations

import ipaddress
import socket

CONNECT_SECONDS = 2.0


def is_loopback_host(host: str) -> bool:
    """Return whether a host, by its name or number, means this machine alone. The name is not looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listens_at(bootstrap: str) -> bool:
    """Return whether a program listens at one of the addresses HOST:PORT, with commas between them.

    A Kafka client keeps trying for longer than a program that starts wants to wait.
    """
    return any(map(_listens, bootstrap.split(",")))


def _listens(address: str) -> bool:
    host, _, port = address.strip().rpartition("://")[2].rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            return True
    except (OSError, ValueError, OverflowError):
        return False
