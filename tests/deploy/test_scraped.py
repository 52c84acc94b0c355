"""A real server, a real camera and a real Prometheus: every query that is shipped has an answer."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.service.dashboard_plot import plot
from bench.service.dashboards import FOLDER, board, filled_in
from bench.service.observed import observed
from bench.service.prometheus import Prometheus
from tests.deploy.queries import Shipped, shipped
from tests.weights import photograph

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="no prometheus on this machine: apt-get install prometheus",
    ),
]

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus beside a server that a camera talks to, that a stranger tried to enter, and that
    is asked for pictures."""
    data = tmp_path_factory.mktemp("house")
    options = ["--budget", "50 kbit/s", "--reference-s", "5"]
    source = pictures(data / "pictures")
    with observed(data, [str(source)], options=options, min_score=0.02, ask_s=1) as asked:
        yield asked


def pictures(folder: Path) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(8)
    for n in range(12):
        Image.fromarray(photograph(rng, 120, 160)).save(folder / f"{n:02}.png")
    return folder


@pytest.mark.parametrize("query", shipped(), ids=lambda query: query.where)
def test_it_has_an_answer(asked: Prometheus, query: Shipped) -> None:
    expr = filled_in(unconditional(query), camera="gate", interval_s=60, range_s=3600)
    found = asked.number(expr, PATIENCE_S)
    assert found
    for label in re.findall(r"\{\{(\w+)\}\}", query.legend):
        assert all(series.labels.get(label) for series in found)


def unconditional(query: Shipped) -> str:
    """An alert's expression gives something only when it fires, so its comparisons are asked to
    tell how they end instead: what is asked for must be there all the same."""
    if not query.where.startswith("alert "):
        return query.expr
    return re.sub(r"(==|<|>) (?=\d)", r"\1 bool ", query.expr)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.json")), ids=lambda file: file.stem)
def test_every_panel_can_be_drawn(asked: Prometheus, file: Path, tmp_path: Path) -> None:
    now = time.time()
    drawn = board(file, asked, now - 20, now, camera="gate")
    empty = [p.title for p in drawn.panels if p.kind != "row" and not p.curves]
    assert empty == []
    plot(drawn, tmp_path / "board.png")
    with Image.open(tmp_path / "board.png") as picture:
        assert picture.width == 1400


def test_what_is_no_query_is_told(asked: Prometheus) -> None:
    with pytest.raises(ValueError, match="parse error"):
        asked.now("sum(")
