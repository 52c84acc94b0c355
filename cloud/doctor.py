"""`glimpse-cloud doctor`: what works on the server's machine, and what to do about what does not.

It only looks: beside a server that runs, or before one is started.
"""

from __future__ import annotations

import datetime
import errno
import os
import platform
import shutil
import socket
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path

import torch

from cloud.access.certificates import CertificateFiles, cameras_authority
from cloud.access.credentials import ServerCredentials
from cloud.access.shown import read_certificate
from cloud.events.config import read_events
from cloud.events.out import check_files
from cloud.folder import data_files
from cloud.health import check_health
from cloud.models.prior_files import own_prior
from cloud.settings import CloudSettings
from cloud.store.sqlite import SqliteFrameStore
from cloud.weights import load_weights
from common.errors import BadSettings, GlimpseError, Unauthenticated, Unreachable
from common.findings import Finding, days_left, fail, ok, warn
from common.manifest import Manifest

_DAY_S = 86_400.0
_WINDOW_S = 3_600.0  # of frames that tell how fast the disk fills
_MOST_FRAMES = 20_000  # of these that are looked at
_ROW = 320  # bytes that a layer takes on disk beside itself: row, index, three boxes
_SILENT_S = 120.0
_LEAST_HOURS = 24.0
_CLOCK_S = 1.0
_HUMAN = "human"  # folder in the weights


def examine(settings: CloudSettings) -> Iterator[Finding]:
    """Everything, as it is found."""
    yield _versions()
    yield _weights(settings)
    yield from _human(settings)
    yield _gpu(settings)
    if not settings.insecure:
        yield from _certificates(settings)
    yield from _secrets(settings)
    yield from _ports(settings)
    if settings.events is not None:
        yield _events(settings.events)
    yield from _stored(settings)


def _versions() -> Finding:
    names = ("glimpse", "torch", "grpcio", "starlette")
    parts = []
    for name in names:
        try:
            parts.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:  # a bare checkout
            continue
    where = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    return ok("version", ", ".join([*parts, where, platform.machine()]))


def _weights(settings: CloudSettings) -> Finding:
    try:
        weights = load_weights(settings.weights)
    except GlimpseError as error:
        return fail("weights", str(error), "install them again: each file must be whole")
    says = f"{settings.weights}: model {weights.manifest.model_id:04x}, each file as it should be"
    return ok("weights", says)


def _human(settings: CloudSettings) -> Iterator[Finding]:
    """Of the human decoder: its files against their hashes, without loading it."""
    folder = settings.human or settings.weights / _HUMAN
    if settings.human is None and not folder.exists():
        yield ok("pictures", "no weights of a human decoder here: boxes only")
        return
    try:
        manifest = Manifest.parse((folder / "manifest.json").read_bytes())
        for name in manifest.files:
            manifest.verify(name, (folder / name).read_bytes())
        prior = own_prior(folder, manifest)
    except (GlimpseError, OSError) as error:
        yield fail("pictures", f"{folder}: {error}", "install the human decoder's weights again")
        return
    count = len(manifest.files) + (0 if prior is None else len(manifest.beside))
    yield ok("pictures", f"{folder}: {count} files, each as it should be")


def _gpu(settings: CloudSettings) -> Finding:
    wanted = settings.decode_device.startswith("cuda")
    if not torch.cuda.is_available():
        if wanted:
            return fail("gpu", f"decode_device is {settings.decode_device}, and torch sees none",
                        "a driver, or a torch for CUDA; or decode_device=auto")  # fmt: skip
        return ok("gpu", "none: everything runs on the CPU")
    free, total = torch.cuda.mem_get_info()
    name = torch.cuda.get_device_name()
    return ok("gpu", f"{name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB are free")


def _certificates(settings: CloudSettings) -> Iterator[Finding]:
    files = data_files(settings.data)[2]
    folder = files.authority.parent
    if not files.exist():
        yield warn("tls", f"no certificate in {folder}: the first start makes one for localhost",
                   "for others: glimpse-cloud certificates HOST")  # fmt: skip
        return
    try:
        ServerCredentials(files)
    except BadSettings as error:
        yield fail("tls", str(error), "glimpse-cloud certificates HOST makes all three anew")
        return
    yield _days(settings, "tls", files.certificate, "glimpse-cloud certificates HOST")
    yield from _cameras_certificates(settings, files)


def _cameras_certificates(settings: CloudSettings, files: CertificateFiles) -> Iterator[Finding]:
    folder = files.authority.parent
    trusted = settings.cameras_ca or cameras_authority(folder)
    if trusted.exists():
        yield _days(settings, "cameras' ca", trusted, "every camera needs a new one: plan it")
    elif settings.mtls_listen:
        yield fail("cameras' ca", f"{trusted}: not there, and mtls_listen needs it",
                   "glimpse-cloud certificates --camera NAME")  # fmt: skip
    for path in sorted((folder / "cameras").glob("*.pem")):
        found = _days(settings, "camera's tls", path, f"certificates --camera {path.stem}")
        if found.level != "ok":
            yield found


def _days(settings: CloudSettings, about: str, path: Path, do: str) -> Finding:
    try:
        shown = read_certificate(path.read_bytes())
    except (OSError, Unauthenticated) as error:
        return fail(about, f"{path}: {error}", do)
    left = (shown.not_after - datetime.datetime.now(datetime.UTC)).total_seconds()
    found = days_left(about, left, settings.certificate_warning_days, do)
    names = ", ".join(dict.fromkeys(shown.names))
    return Finding(found.level, about, f"{path.name} ({names}): {found.says}", found.do)


def _secrets(settings: CloudSettings) -> Iterator[Finding]:
    """Files that others on this machine should not read."""
    _, tokens, files = data_files(settings.data)
    authority_key = cameras_authority(files.authority.parent).with_suffix(".key")
    secret = (tokens, files.key, authority_key, settings.data / "viewer.token")
    readable = [
        p for p in secret if p.exists() and p.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
    ]
    if readable:
        names = ", ".join(map(str, readable))
        yield warn("secrets", f"others may read {names}", f"chmod 600 {names}")
    elif any(path.exists() for path in secret):
        yield ok("secrets", "readable by their owner alone")


def _ports(settings: CloudSettings) -> Iterator[Finding]:
    """Served by a server of these settings, or free for one."""
    try:
        check_health(settings)
        runs = True
        yield ok("server", f"serves on {settings.listen}")
    except (Unreachable, BadSettings):
        runs = False
        yield ok("server", f"none of these settings serves on {settings.listen}")
    for name in ("listen", "mtls_listen", "web_listen", "metrics_listen"):
        address = getattr(settings, name)
        if address:
            yield _port(name, address, runs)


def _port(name: str, address: str, runs: bool) -> Finding:
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host.strip("[]") or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(where)
    except (OSError, ValueError, OverflowError) as error:
        if runs and isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return ok("port", f"{name} {address}: in use, as it should be")
        reason = getattr(error, "strerror", None) or error
        return fail("port", f"{name} {address}: {reason}",
                    f"ss -ltnp 'sport = :{port}' says who has it")  # fmt: skip
    if runs:
        return warn("port", f"{name} {address}: free, though a server runs",
                    "it has other settings than these")  # fmt: skip
    return ok("port", f"{name} {address}: free")


def _events(file: Path) -> Finding:
    try:
        config = read_events(file)
        check_files(config)
    except BadSettings as error:
        return fail("events", str(error), f"glimpse-cloud events check {file}")
    return ok("events", f"{file}: {len(config.lines())} lines, each good")


def _stored(settings: CloudSettings) -> Iterator[Finding]:
    """Room for frames, and what the newest ones tell of their cameras."""
    data = settings.data
    folder = next(path for path in (data, *data.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        yield fail("disk", f"{data}: not writable", "give it to this user, or move it")
        return
    disk = shutil.disk_usage(folder)
    path = data_files(data)[0]
    if not path.exists():
        yield ok("disk", f"{data}: {disk.free / 1e9:.1f} GB are free; no frame is stored")
        return
    try:
        with closing(SqliteFrameStore(path, read_only=True)) as store:
            yield _room(settings, disk.free, store)
            yield from _cameras(store)
    except (BadSettings, sqlite3.Error) as error:
        yield fail("store", f"{path}: {error}", "the server puts a broken one aside at its start")


def _room(settings: CloudSettings, free: int, store: SqliteFrameStore) -> Finding:
    used = store.used_bytes()
    room = free if settings.max_store_bytes is None else min(free, settings.max_store_bytes - used)
    bounded = settings.keep_days is not None or settings.keep_bytes is not None
    says = f"{room / 1e9:.1f} GB are free, {used / 1e9:.3f} GB are frames"
    recent = store.frames(since=time.time() - _WINDOW_S, limit=_MOST_FRAMES)
    if not recent:
        return ok("disk", f"{says}; none came in the last hour")
    span = max(time.time() - recent[-1].captured_at, 1.0)
    rate = sum(len(frame.data) + _ROW for frame in recent) / span
    hours = room / rate / 3600
    says += f"; {hours:.0f} hours at the last hour's rate"
    if hours < _LEAST_HOURS and not bounded:
        return warn("disk", says, "set keep_days or keep_bytes, or make room")
    return ok("disk", says)


def _cameras(store: SqliteFrameStore) -> Iterator[Finding]:
    for camera in store.cameras():
        newest = store.frames(camera=camera.camera, limit=1)
        if not newest:
            continue
        ahead = newest[0].captured_at - newest[0].stored_at
        silent = time.time() - newest[0].stored_at
        if ahead > _CLOCK_S:
            yield warn("clock", f"{camera.camera} is {ahead:.1f} s ahead of this clock",
                       "let chrony or timesyncd set both")  # fmt: skip
        if silent > _SILENT_S:
            yield warn("camera", f"{camera.camera}: silent for {_spoken(silent)}",
                       "there: glimpse-edge doctor")  # fmt: skip
        else:
            yield ok("camera", f"{camera.camera}: {camera.frames} frames, the last one now")


def _spoken(seconds: float) -> str:
    if seconds > 2 * _DAY_S:
        return f"{seconds / _DAY_S:.0f} days"
    return f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds / 60:.0f} minutes"
