"""A place in a list of frames as a page token: short text that a client hands back as it came."""

from __future__ import annotations

import base64
import binascii
import math
import struct

from cloud.store import Place
from common.errors import RemoteProtocolError

_PLACE = struct.Struct(">dq")


def to_token(place: Place) -> str:
    """24 characters that may stand in a URL."""
    return base64.urlsafe_b64encode(_PLACE.pack(*place)).decode()


def from_token(token: str) -> Place:
    """Raises RemoteProtocolError."""
    try:
        place = Place(*_PLACE.unpack(base64.b64decode(token, altchars=b"-_", validate=True)))
    except (ValueError, binascii.Error, struct.error):
        place = Place(math.nan, 0)
    if not math.isfinite(place.captured_at):
        raise RemoteProtocolError("the page token is none that this server made")
    return place
