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


class WrongBase(CorruptStream):
    """The sender's fault: an auxiliary layer of another frame than the machine layer beside it."""


class ModelMismatch(GlimpseError):
    """The operator's fault: the two sides, or a file and its manifest, hold different models."""


class StoreFull(GlimpseError):
    """The operator's fault: spool or store has reached its size limit, or its disk fails."""


class DiskFailed(StoreFull):
    """The operator's fault: the spool's disk has room, but it cannot be written or read."""


class LimitReached(GlimpseError):
    """The peer's fault: it wants more than it is given here; a later try may succeed."""


class NotStored(GlimpseError):
    """The caller's fault: it asks for a frame that is not in the store, or not any more."""


class DecoderUnavailable(GlimpseError):
    """The server's fault: it has no decoder for this request now; a later try may succeed."""


class AuxiliaryError(GlimpseError):
    """The camera's or the link's fault: there is no auxiliary layer to be had for a frame now."""


class CameraOffline(AuxiliaryError):
    """The link's fault: the camera has no live session; it may be back."""


class AuxiliaryGone(AuxiliaryError):
    """Nobody's fault: the camera does not keep that frame any more, or never did."""


class AuxiliaryTimeout(AuxiliaryError):
    """The link's fault: the answer did not come, or not whole, before the deadline."""


class AuxiliaryUnsupported(AuxiliaryError):
    """The operator's fault, or choice: this camera makes no auxiliary layers."""


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
