"""What can go wrong with a call. Each class says what its caller can do about it."""

from __future__ import annotations


class Error(Exception):
    """The root of all that a client raises on purpose; by itself: the server has a fault."""


class Unauthenticated(Error):
    """One side did not prove who it is: check the token, or the authority that is trusted."""


class PermissionDenied(Error):
    """The token is known, and it may not do this: viewers look, cameras send."""


class Unavailable(Error):
    """The server was not reached, or has no room just now: a later try may succeed."""


class TimedOut(Unavailable):
    """The call's time was over before its answer came."""


class InvalidLayer(Error):
    """These bytes are not a layer that can be decoded."""


class ModelMismatch(Error):
    """The server has no model for this layer, or none that makes pictures."""


class InvalidRequest(Error):
    """No camera or frame can have such a name, or there is no such page, or no such picture."""


class NotFound(Error):
    """The frame is not stored, or not any more."""


class Unsupported(Error):
    """The server knows no such call: it is of an older version, or something else altogether."""


class InvalidSignature(Error):
    """A webhook's message is not from who has the secret, or it is an old one sent again."""


class Closed(Error):
    """The client was closed before or during the call."""
