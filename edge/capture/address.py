"""What a source's name says about it: a stream or a device that is live, or a file."""

from __future__ import annotations

import re

STREAMS = ("rtsp://", "rtsps://", "http://", "https://", "tcp://", "udp://")
DEVICES = "/dev/"

_CREDENTIALS = re.compile(r"://.*@")
_QUERY = re.compile(r"\?.*")


def is_live(source: str) -> bool:
    """Whether it is a stream (by URL) or a V4L2 device (by path): without an end, in real time."""
    return is_device(source) or source.lower().startswith(STREAMS)


def is_device(source: str) -> bool:
    """Whether it is a path under /dev."""
    return source.startswith(DEVICES)


def shown(source: str) -> str:
    """The source as it may be printed: user, password and query of a URL masked.

    Too much is masked rather than too little: a password may hold any character.
    """
    if "://" not in source:
        return source
    return _QUERY.sub("?***", _CREDENTIALS.sub("://***@", source))
