"""Finds a real clip for the demo camera, and says where it came from.

In this order: what the user names, the user's cache, one download, Debian's package opencv-doc.
Download and package must yield the same bytes, by checksum: 795 frames of 768 x 576 pixels at
10 frames a second from a fixed camera above walking people (PETS 2009, S2.L1, view 1).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from common.errors import BadPicture

CLIP_SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
CLIP_URL = "https://raw.githubusercontent.com/opencv/opencv/4.6.0/samples/data/vtest.avi"
PACKAGE = "opencv-doc"
_IN_PACKAGE = "./usr/share/doc/opencv-doc/examples/data/vtest.avi"
_PATIENCE_S = 60.0


def find_clip(named: str | None, cache: Path) -> tuple[str, str]:
    """Returns (source, one line that says where it came from).

    Raises BadPicture, listing what was tried, when no clip can be had: then name one.
    """
    if named:
        return named, f"{named} (as asked for)"
    clip = cache / "vtest.avi"
    if clip.exists() and _is_the_clip(clip.read_bytes()):
        return str(clip), f"{clip} (cached)"
    cache.mkdir(parents=True, exist_ok=True)
    tried = []
    for fetch, origin in ((_download, CLIP_URL), (_from_package, f"Debian's package {PACKAGE}")):
        try:
            data = fetch()
        except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as error:
            tried.append(f"{origin}: {error}")
            continue
        if _is_the_clip(data):
            partial = clip.with_suffix(".part")
            partial.write_bytes(data)
            partial.replace(clip)
            return str(clip), f"{clip} (from {origin})"
        tried.append(f"{origin}: not the file that was expected (checksum)")
    lines = "\n  ".join(tried)
    raise BadPicture(
        f"no clip for the demo camera:\n  {lines}\n"
        "name a video file or a folder of photographs in GLIMPSE_DEMO_CLIP"
    )


def _is_the_clip(data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == CLIP_SHA256


def _download() -> bytes:
    with urllib.request.urlopen(CLIP_URL, timeout=8) as reply:  # a fixed https address
        body: bytes = reply.read(64 << 20)
        return body


def _from_package() -> bytes:
    """Fetches the .deb into a temporary folder with package lists of its own; installs nothing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise FileNotFoundError("no apt-get here")
    with tempfile.TemporaryDirectory() as folder:
        own = [f"-oDir::State::Lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
        for path in ("lists/partial", "cache/archives/partial"):
            (Path(folder) / path).mkdir(parents=True)
        for command in (["update"], ["download", PACKAGE]):
            subprocess.run(
                ["apt-get", "-qq", *own, *command],
                cwd=folder, check=True, timeout=_PATIENCE_S, capture_output=True,
            )  # fmt: skip
        (package,) = Path(folder).glob("*.deb")
        with (
            subprocess.Popen(
                ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
            ) as unpack,
            tarfile.open(fileobj=unpack.stdout, mode="r|") as archive,
        ):
            for member in archive:
                if member.name == _IN_PACKAGE and (content := archive.extractfile(member)):
                    data = content.read()
                    unpack.kill()
                    return data
        raise FileNotFoundError(f"{PACKAGE} has no {_IN_PACKAGE}")
