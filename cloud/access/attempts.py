"""Failed logins: an address that keeps failing is sent away, for a time that doubles.

Counted by address, because who fails has no name. An address may be a site with many cameras, of
which one has a wrong token: those that have come in from there before are let through, by what they
showed then ('device cookies', OWASP). Tokens have 192 bits, so this is no wall around them: it
keeps a flood of guesses from costing more than it must, and it says so in the log.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from common.errors import LimitReached

_ADDRESSES = 4096  # remembered; the one that was not heard of for longest is forgotten
_KNOWN = 1024  # callers remembered of each
_FORGIVEN_S = 3600.0  # without a failure, and all is forgotten
_FIRST_S = 1.0


@dataclass
class _Record:
    failures: int = 0
    last: float = 0.0  # failure
    until: float = 0.0  # nobody new is let in
    known: OrderedDict[Hashable, None] = field(default_factory=OrderedDict)


class Attempts:
    """Logins by address. `now`: seconds of a clock that never goes back.

    free    failures that cost nothing
    most_s  bound of the time for which an address is sent away, seconds
    """

    def __init__(self, *, free: int, most_s: float) -> None:
        self._free, self._most_s = free, most_s
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def check(self, address: str, proof: Hashable, now: float) -> None:
        """Before the proof is looked at. Raises LimitReached if it is not to be."""
        record = self._records.get(address)
        if record is not None and now < record.until and proof not in record.known:
            wait = record.until - now
            raise LimitReached(f"too many failed logins from {address}: again in {wait:.0f} s")

    def failed(self, address: str, now: float) -> float:
        """One more; returns for how many seconds the address is sent away, 0: it is not."""
        record = self._record(address)
        if now - record.last > _FORGIVEN_S:
            record.failures = 0
        record.failures += 1
        record.last = now
        over = record.failures - self._free
        if over <= 0:
            return 0.0
        pause = min(_FIRST_S * 2.0 ** min(over - 1, 64), self._most_s)
        record.until = now + pause
        return pause

    def passed(self, address: str, proof: Hashable) -> None:
        """This proof was right."""
        known = self._record(address).known
        known[proof] = None
        known.move_to_end(proof)
        if len(known) > _KNOWN:
            known.popitem(last=False)

    def _record(self, address: str) -> _Record:
        record = self._records.setdefault(address, _Record())
        self._records.move_to_end(address)
        if len(self._records) > _ADDRESSES:
            self._records.popitem(last=False)
        return record


def address_of(peer: str) -> str:
    """The address in gRPC's name of a peer, without its port; of IPv6 the network of a site, /64.

    'ipv4:192.0.2.7:5000' is 192.0.2.7, 'ipv6:[2001:db8::7]:5000' is 2001:db8::/64; what is none is
    itself, such as 'unix:'.
    """
    kind, _, rest = urllib.parse.unquote(peer).partition(":")
    host = rest.rpartition(":")[0].strip("[]")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return f"{kind}:"
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
