"""A real server, a real camera and a real Prometheus: every query that is shipped has an answer."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from PIL import Image

from bench.processes import ROOT, camera_command, free_port, make_token, serving
from cloud.remote import Login
from common.errors import Unauthenticated
from tests.deploy.queries import PROMETHEUS, Shipped, shipped
from tests.weights import photograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="no prometheus on this machine: apt-get install prometheus",
    ),
]

PATIENCE_S = 60.0
OF_PICTURES = {  # with data once somebody asked for a picture, which nobody does here
    "glimpse_auxiliary_fetch_total",
    "glimpse_decode_cache_total",
    "glimpse_decode_seconds_bucket",
    "glimpse_decode_seconds_count",
    "glimpse_decode_seconds_sum",
}
EVENTS = """
rules: [{name: anything, min_score: 0.02, appear_frames: 1, gone_after_s: 1, cooldown_s: 0}]
webhooks: [{name: nobody, url: "http://127.0.0.1:9/", secret_file: %s}]
"""


@contextmanager
def running(
    command: Sequence[str], log: Path, env: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end."""
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **env}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """It reads the files that are shipped, but scrapes `target`, and every second."""
    config: Any = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}",
        f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'series'}",
    ]  # fmt: skip
    with (
        running(command, folder / "prometheus.log", {}),
        httpx.Client(base_url=f"http://{address}", timeout=20) as client,
    ):
        yield client


def pictures(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(8)
    for n in range(12):
        Image.fromarray(photograph(rng, 120, 160)).save(folder / f"{n:02}.png")
    return folder


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Prometheus beside a server that a camera talks to, and that a stranger tried to enter."""
    data = tmp_path_factory.mktemp("house")
    secret = data / "secret"
    secret.write_text("sixteen bytes or more")
    events = data / "events.yaml"
    events.write_text(EVENTS % secret)
    make_token(data, "camera", "gate")
    metrics = f"127.0.0.1:{free_port()}"
    env = {"GLIMPSE_CLOUD_MIN_SCORE": "0.02", "GLIMPSE_CLOUD_EVENTS": str(events)}
    with ExitStack() as stack:
        server = stack.enter_context(serving(data, env, metrics=metrics))
        source = str(pictures(data / "pictures"))
        camera = [*camera_command(data, "gate", source, server), "--budget", "50 kbit/s"]
        process = stack.enter_context(
            running(camera, data / "camera.log", {"GLIMPSE_EDGE_TELEMETRY_S": "1"})
        )
        (data / "wrong.token").write_text("nobodys-token")
        login = Login(server, data, None, data / "wrong.token", False)
        with pytest.raises(Unauthenticated), login.client() as stranger:
            next(iter(stranger.frames()))
        client = stack.enter_context(prometheus(data, metrics))
        while not answer(client, "camera:glimpse_delay_seconds:mean5m", 0.2):
            assert process.poll() is None, (data / "camera.log").read_text()
        yield client


@pytest.mark.parametrize("query", shipped(), ids=lambda query: query.where)
def test_it_has_an_answer(asked: httpx.Client, query: Shipped) -> None:
    found = answer(asked, unconditional(query), 0.5 if query.metrics & OF_PICTURES else PATIENCE_S)
    if query.metrics & OF_PICTURES:
        assert found == []  # or it has data by now, and is none of these
        return
    assert found
    for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
        assert all(series["metric"].get(label) for series in found)


def unconditional(query: Shipped) -> str:
    """An alert's expression gives something only when it fires, so its comparisons are asked to
    tell how they end instead: what is asked for must be there all the same."""
    if not query.where.startswith("alert "):
        return query.expr
    return re.sub(r"(==|<|>) (?=\d)", r"\1 bool ", query.expr)


def answer(asked: httpx.Client, expr: str, patience_s: float = PATIENCE_S) -> list[dict[str, Any]]:
    """What an instant query gives, as soon as it gives a number."""
    for name, value in (("$__rate_interval", "1m"), ("$__range", "1h"), ("$camera", "gate")):
        expr = expr.replace(name, value)
    deadline = time.monotonic() + patience_s
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.1)
        try:
            reply = asked.get("/api/v1/query", params={"query": expr})
        except httpx.TransportError:  # it is still starting
            continue
        if reply.status_code != 503:  # and so it is here
            assert reply.status_code == 200, reply.text
            series = reply.json()["data"]["result"]
            found = [one for one in series if not math.isnan(float(one["value"][1]))]
    return found
