"""How soon the page has something to show of a picture that somebody clicked on.

    bench ──TLS──> glimpse-cloud serve ──> its decoder's process

Each click is of another frame, whose picture nobody made before, and asks as the page does. Before
a cold one the decoder has left memory; a warm one finds it there. Which it was, the answer says.
"""

from __future__ import annotations

import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from bench.report import write_report
from bench.service.processes import authority, free_port, make_token, serving
from cloud.folder import data_files
from cloud.store.sqlite import SqliteFrameStore
from common.types import FrameId, Layer
from edge.capture.picture import Picture
from edge.coding.encoder import Encoder
from edge.coding.weights import load_weights

_IDLE_S = 2.0  # without work, and the decoder leaves memory
_COLD_S = 3 * _IDLE_S  # so long a pause before a cold click
_PATIENCE_S = 300.0
_SIZE = 640, 480


@dataclass(frozen=True, slots=True)
class Click:
    """Milliseconds from the click to the first line, to the first preview, to the picture.

    cold  the decoder had to be loaded
    """

    cold: bool
    first: float
    preview: float
    picture: float


def clicks(out: Path, weights: Path, *, count: int) -> dict[str, Any]:
    """`count` cold clicks and as many warm ones. Writes clicks.json into `out`."""
    with tempfile.TemporaryDirectory(prefix="glimpse-clicks-") as folder:
        data = Path(folder)
        token = make_token(data, "viewer", "viewer").read_text().strip()
        frames = _fill(data, weights, 2 * count + 1)
        web = f"127.0.0.1:{free_port()}"
        env = {
            "GLIMPSE_CLOUD_WEIGHTS": str(weights.resolve()),
            "GLIMPSE_CLOUD_DECODE_IDLE_S": str(_IDLE_S),
        }
        with serving(data, env, web):
            page = Visitor(web, authority(data), token)
            page.click(frames[0])  # the first one also reads the weights from the disk
            made = []
            for n, frame in enumerate(frames[1:]):
                if n % 2 == 0:
                    time.sleep(_COLD_S)
                made.append(page.click(frame))
    report = {
        "clicks": len(made),
        "size": list(_SIZE),
        **{
            name: _together([one for one in made if one.cold is cold])
            for name, cold in (("cold", True), ("warm", False))
        },
    }
    write_report(out / "clicks.json", report)
    return report


class Visitor:
    """A viewer who is logged in. Each request takes a connection of its own: the server lets go of
    one that is idle for five seconds, and people look longer than that.

    web  HOST:PORT. Raises SystemExit for a token that the page does not take.
    """

    def __init__(self, web: str, trusted: Path, token: str) -> None:
        self._web = web
        self._context = ssl.create_default_context(cafile=str(trusted))
        form = {"content-type": "application/x-www-form-urlencoded"}
        with self._post("/login", urlencode({"token": token}), form) as reply:
            self._cookie = (reply.getheader("set-cookie") or "").partition(";")[0]
            if not self._cookie:
                raise SystemExit(f"the page does not let us in: {reply.status} {reply.reason}")

    def click(self, frame: FrameId) -> Click:
        """Asks for a picture as the page does, and reads to its end. SystemExit: there is none."""
        path = f"/api/frames/{frame.camera}/{frame.boot}/{frame.seq}/picture"
        headers = {"content-type": "application/json", "cookie": self._cookie}
        when: dict[str, float] = {}  # each kind of news -> when it came first
        began = time.perf_counter()
        with self._post(path, json.dumps({"steps": 0}), headers) as reply:
            if reply.status != 200:
                raise SystemExit(f"no picture of {frame}: {reply.read().decode()}")
            while line := reply.readline():
                at = (time.perf_counter() - began) * 1000
                for what, news in json.loads(line).items():
                    if what == "fault":
                        raise SystemExit(f"no picture of {frame}: {news['error']}")
                    when.setdefault(what, at)
        if "done" not in when:
            raise SystemExit(f"no picture of {frame}: the server went away")
        preview = when.get("step", when["done"])
        return Click("loading" in when, min(when.values()), preview, when["done"])

    @contextmanager
    def _post(
        self, path: str, body: str, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        link = http.client.HTTPSConnection(self._web, timeout=_PATIENCE_S, context=self._context)
        with closing(link):
            link.request("POST", path, body, {**headers, "sec-fetch-site": "same-origin"})
            with link.getresponse() as reply:
                yield reply


def _fill(data: Path, weights: Path, count: int) -> list[FrameId]:
    """So many frames, each of another picture."""
    rng = np.random.default_rng(1)
    encoder = Encoder(load_weights(weights), threads=1)
    layers = []
    for seq in range(count):
        noise = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
        pixels = np.asarray(noise.resize(_SIZE, Image.Resampling.BICUBIC))
        coded = encoder.layer(encoder.analyse(Picture.whole(pixels)), 0.4)
        layers.append(Layer(FrameId("before", "b1", seq), time.time() - 3600 + seq, coded))
    with closing(SqliteFrameStore(data_files(data)[0])) as store:
        store.write(layers, [])
    return [layer.frame for layer in layers]


def _together(made: list[Click]) -> dict[str, Any]:
    """Of cold clicks, or of warm ones; none: there was not one."""
    figures: dict[str, Any] = {"clicks": len(made)}
    for name in ("first", "preview", "picture") if made else ():
        p50, p95 = np.quantile([getattr(one, name) for one in made], (0.5, 0.95))
        figures[f"{name}_ms"] = {"p50": round(float(p50), 1), "p95": round(float(p95), 1)}
    return figures
