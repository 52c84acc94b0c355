"""The way to the server, made anew for each connection: files may have been renewed since the last.

A channel of gRPC keeps the certificates that it began with. The server lets no stream last for
ever, so a new certificate, authority or token is in use within hours, without a restart.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from common.errors import BadSettings
from edge.link import Link

log = structlog.get_logger()


class Links:
    """Gives the link as `read` finds it; where that fails, as it was before.

    Raises BadSettings if the first reading fails.
    """

    def __init__(self, read: Callable[[], Link]) -> None:
        self._read = read
        self._last = read()
        self._fault = ""

    def __call__(self) -> Link:
        fault = ""
        try:
            self._last = self._read()
        except BadSettings as error:
            fault = str(error)
        if fault and fault != self._fault:
            log.warning("going on with what was read before", reason=fault)
        self._fault = fault
        return self._last
