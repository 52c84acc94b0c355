from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
import yaml

from deploy.grafana.make_dashboards import DASHBOARDS, SOURCE, as_json, stale
from tests.deploy.queries import ROOT, Shipped, exported, shipped

PROVISIONING = ROOT / "deploy" / "grafana" / "provisioning"


def test_the_json_is_what_the_tables_say() -> None:
    hint = "python -m deploy.grafana.make_dashboards --rewrite"
    assert stale() == [], hint


@pytest.mark.parametrize("query", shipped(), ids=lambda query: query.where)
def test_every_query_asks_for_what_the_server_exports(query: Shipped) -> None:
    assert query.metrics
    assert query.metrics <= exported()


def test_a_query_for_what_nobody_exports_is_found() -> None:
    query = Shipped("", 'sum by (le, camera) (rate(glimpse_nonsense_total{a="b"}[5m])) / up > 0')
    assert query.metrics == {"glimpse_nonsense_total", "up"}
    assert not query.metrics <= exported()


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.title)
class TestJson:
    def test_panels_have_names_of_their_own_and_do_not_overlap(self, board: Any) -> None:
        panels = json.loads(as_json(board))["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        for row in board.rows:
            titles = [panel.title for panel in row.panels]
            assert len(set(titles)) == len(titles)
        cells = [cell for panel in panels for cell in area(panel["gridPos"])]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 24

    def test_every_panel_asks_the_source_that_is_provisioned(self, board: Any) -> None:
        (source,) = yaml.safe_load((PROVISIONING / "datasources" / "glimpse.yml").read_text())[
            "datasources"
        ]
        assert {"type": source["type"], "uid": source["uid"]} == SOURCE
        panels = [p for p in json.loads(as_json(board))["panels"] if p["type"] != "row"]
        assert all(panel["datasource"] == SOURCE for panel in panels)

    def test_only_a_board_with_a_choice_of_cameras_uses_it(self, board: Any) -> None:
        queries = [query.expr for panel in board.panels for query in panel.queries]
        assert any("$camera" in query for query in queries) == board.of_one_camera
        names = set(re.findall(r"\$\w+", " ".join(queries)))
        assert names <= {"$camera", "$__rate_interval", "$__range"}


def area(place: dict[str, int]) -> itertools.product[tuple[int, int]]:
    across = range(place["x"], place["x"] + place["w"])
    return itertools.product(across, range(place["y"], place["y"] + place["h"]))
