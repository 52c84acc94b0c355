"""glimpse: machines look first, people look rarely. The public Python package.

    cloud = glimpse.Client.connect("cloud.example.org:50051", token=TOKEN)
    for seen in cloud.watch():
        print(seen.camera, seen.captured_at, [box.label for box in seen.boxes])

`Client`, and `AsyncClient` for asyncio, do the same:

    detect(layer)               what is in one machine layer
    watch(cameras)              every frame from now on; survives lost connections
    frames(camera, label, ...)  what is stored, newest first
    frame("gate/b1/7")          one stored frame with its layer
    reconstruct("gate/b1/7")    a picture of it, made when somebody asks

`verify_webhook` is for who receives the server's webhooks.

`glimpse.v1` is the code generated from proto/glimpse/v1, for who wants to speak it by hand.
"""

from __future__ import annotations

from glimpse.aio import AsyncClient
from glimpse.client import Client
from glimpse.errors import (
    Closed,
    Error,
    InvalidLayer,
    InvalidRequest,
    InvalidSignature,
    ModelMismatch,
    NotFound,
    PermissionDenied,
    TimedOut,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from glimpse.retry import Retry
from glimpse.types import (
    Box,
    Detection,
    Frame,
    FrameId,
    Picture,
    Presence,
    Progress,
    Seen,
    Sighting,
)
from glimpse.webhooks import verify_webhook

__all__ = [
    "AsyncClient",
    "Box",
    "Client",
    "Closed",
    "Detection",
    "Error",
    "Frame",
    "FrameId",
    "InvalidLayer",
    "InvalidRequest",
    "InvalidSignature",
    "ModelMismatch",
    "NotFound",
    "PermissionDenied",
    "Picture",
    "Presence",
    "Progress",
    "Retry",
    "Seen",
    "Sighting",
    "TimedOut",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "verify_webhook",
]
