"""Hosts and addresses: whether one is this machine."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """A name other than localhost is not, whatever it stands for."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def listens_here_only(address: str) -> bool:
    """Whether HOST:PORT can be reached from this machine alone."""
    return is_loopback(address.rpartition(":")[0])
