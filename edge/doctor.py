"""`glimpse-edge doctor`: what works on this machine and on the way to the server, and what to do.

It takes nothing from a camera that runs beside it, except for a V4L2 device, which one process has
at a time.
"""

from __future__ import annotations

import os
import platform
import shutil
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np

from common.errors import BadPicture, BadSettings, GlimpseError
from common.findings import Finding, fail, ok, warn
from edge.capture.address import is_live, shown
from edge.capture.demo_camera import find_clip
from edge.capture.live import Grabber, Lost
from edge.capture.picture import Picture
from edge.capture.sources import camera_frames
from edge.coding.encoder import Encoder, open_encoder
from edge.link.doctor import Wish, hops
from edge.settings import EdgeSettings

_ROW = 90  # bytes that a layer takes on disk beside itself, about
_LEAST_HOURS = 1.0


async def examine(settings: EdgeSettings, wish: Wish) -> AsyncIterator[Finding]:
    """Everything, as it is found. wish: what the way to the server is to be asked."""
    yield _versions()
    picture, finding = _camera(settings)
    yield finding
    encoder, finding = _weights(settings)
    yield finding
    layer = 0
    if encoder is not None:
        layer, finding = _encoding(encoder, settings, picture)
        yield finding
    yield _spool(settings, layer)
    needs = layer * settings.fps
    known = replace(wish, model_id=None if encoder is None else encoder.model_id, needs=needs)
    async for finding in hops(settings, known):
        yield finding


def _versions() -> Finding:
    names = ("glimpse", "onnxruntime", "grpcio", "av")
    parts = [f"{name} {version}" for name, version in _installed(names)]
    where = f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.machine()}"
    return ok("version", ", ".join([*parts, where]))


def _installed(names: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:  # onnxruntime-gpu in its place, or a bare checkout
            continue


def _camera(settings: EdgeSettings) -> tuple[Picture | None, Finding]:
    """One picture of the source."""
    started = time.monotonic()
    source = settings.source
    try:
        if source is None:
            source, _ = find_clip(settings.demo_clip, settings.cache)
        picture = _live(settings, source) if is_live(source) else _first(settings, source)
    except (BadPicture, BadSettings, Lost) as error:
        return None, fail(
            "camera",
            f"{shown(settings.source or 'demo camera')}: {error}",
            "its power, cable, address, password; does another program have it?",
        )
    took = time.monotonic() - started
    says = f"{shown(source)}: {picture.width} x {picture.height} after {took:.1f} s"
    return picture, ok("camera", says)


def _live(settings: EdgeSettings, source: str) -> Picture:
    """Raises Lost; BadPicture."""
    if source.startswith("/") and not Path(source).exists():
        raise BadPicture("no such device")
    with Grabber(source, settings.side, settings.source_options) as grabber:
        answer = grabber.picture(settings.open_deadline_s, threading.Event())
    if answer is None:
        raise Lost("no picture")
    return answer[0]


def _first(settings: EdgeSettings, source: str) -> Picture:
    with closing(camera_frames(settings, source, threading.Event())) as frames:
        for frame in frames:
            return frame.read()
    raise BadPicture("there is no picture in it")


def _weights(settings: EdgeSettings) -> tuple[Encoder | None, Finding]:
    try:
        encoder = open_encoder(settings)
    except GlimpseError as error:
        return None, fail("weights", str(error), "install them again: each file must be whole")
    says = f"{settings.weights}: model {encoder.model_id:04x}, each file as its manifest says"
    return encoder, ok("weights", says)


def _encoding(
    encoder: Encoder, settings: EdgeSettings, picture: Picture | None
) -> tuple[int, Finding]:
    """Bytes of a layer of this picture, and whether there is time to make one for each frame."""
    shot = picture or Picture.whole(np.full((480, 640, 3), 128, np.uint8))
    encoder.analyse(shot)  # the first one loads libraries
    started = time.monotonic()
    layer = len(encoder.layer(encoder.analyse(shot), settings.quality))
    took = time.monotonic() - started
    says = f"{1000 * took:.0f} ms a frame on {settings.provider}, for {settings.fps:g} a second"
    if picture is not None:
        says += f"; {layer} bytes by itself at quality {settings.quality:g}"
    if took * settings.fps > 1:
        return layer, warn("encoder", says, "lower --fps or --side, or --provider and more threads")
    return layer, ok("encoder", says)


def _spool(settings: EdgeSettings, layer: int) -> Finding:
    if settings.spool is None:
        return warn("spool", "in memory: what is not acked goes with the process", "set --spool")
    folder = next(
        path for path in (settings.spool, *settings.spool.absolute().parents) if path.exists()
    )
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return fail("spool", f"{settings.spool}: not writable", "give it to this user, or move it")
    free = shutil.disk_usage(folder).free
    room = min(settings.max_spool_bytes, free)
    says = f"{settings.spool}: room for {room / 1e6:.0f} MB, {free / 1e9:.1f} GB are free"
    if layer:
        hours = room / ((layer + _ROW) * settings.fps * 3600)
        says += f"; {hours:.0f} hours without a server, if every frame stood alone"
        if hours < _LEAST_HOURS:
            return warn("spool", says, "raise max_spool_bytes, or make room on the disk")
    if free < settings.max_spool_bytes:
        return warn("spool", says, f"max_spool_bytes is {settings.max_spool_bytes}: make room")
    return ok("spool", says)
