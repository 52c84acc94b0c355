"""The error tree. Each class says whose fault it is, so that a rim knows what to answer."""

from __future__ import annotations


class GlimpseError(Exception):
    """The root of every error that this project raises on purpose."""


class LocalProtocolError(GlimpseError):
    """Our fault: this side asked its own session for something the protocol forbids."""


class RemoteProtocolError(GlimpseError):
    """The peer's fault: it sent a message that the protocol forbids at this point."""


class CorruptStream(GlimpseError):
    """The sender's or the link's fault: these bytes are not a layer that can be decoded."""


class BrokenChain(CorruptStream):
    """The link's fault: an inter layer without the one it leans on; the next intra layer heals."""


class ModelMismatch(GlimpseError):
    """The operator's fault: the two sides, or a file and its manifest, hold different models."""


class StoreFull(GlimpseError):
    """The operator's fault: spool or store has reached its size limit, or its disk fails."""


class LimitReached(GlimpseError):
    """The peer's fault: it wants more than it is given here; a later try may succeed."""


class NotStored(GlimpseError):
    """The caller's fault: it asks for a frame that is not in the store, or not any more."""


class DecoderUnavailable(GlimpseError):
    """The server's fault: it has no decoder for this request now; a later try may succeed."""


class BadPicture(GlimpseError):
    """The caller's fault: a picture has a size, type or content that cannot be coded."""


class BadSettings(GlimpseError):
    """The operator's fault: a setting, or a combination of settings, makes no sense."""


class Unauthenticated(GlimpseError):
    """The peer's fault: it did not prove who it is."""


class PermissionDenied(GlimpseError):
    """The peer's fault: it proved who it is, and that one may not do this."""


class Unreachable(GlimpseError):
    """The link's fault: the peer does not answer; a later try may succeed."""
