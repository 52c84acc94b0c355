"""The three dashboards, as tables of panels; Grafana's JSON beside is made from them.

python -m deploy.grafana.make_dashboards             says whether the JSON is up to date
python -m deploy.grafana.make_dashboards --rewrite   makes it so
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "glimpse-prometheus"}

_COLUMNS = 24  # of Grafana's grid
_HEIGHT = {"stat": 4, "timeseries": 8}
_ACROSS = {"stat": 6, "timeseries": 3}  # at most, side by side


@dataclass(frozen=True, slots=True)
class Query:
    """legend: names a curve, with {{label}} for a label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """unit: as Grafana calls it. what: for the reader, behind the (i) in the panel's corner."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    what: str = ""
    kind: Literal["timeseries", "stat"] = "timeseries"


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """of_one_camera: it has a list to choose the camera from, $camera."""

    uid: str
    title: str
    what: str
    rows: tuple[Row, ...]
    of_one_camera: bool = False

    @property
    def panels(self) -> tuple[Panel, ...]:
        return tuple(panel for row in self.rows for panel in row.panels)


def one(title: str, unit: str, expr: str, legend: str = "", what: str = "") -> Panel:
    """A panel with one query."""
    return Panel(title, unit, (Query(expr, legend or title.lower()),), what)


def stat(title: str, unit: str, expr: str, what: str = "") -> Panel:
    """One figure."""
    return Panel(title, unit, (Query(expr, title.lower()),), what, "stat")


def quantiles(title: str, metric: str, what: str = "", by: str = "") -> Panel:
    """p50, p95 and p99 of a histogram; by: one curve for each value of this label."""
    sums = f"sum by (le{f', {by}' if by else ''}) (rate({metric}_bucket[$__rate_interval]))"
    queries = (
        Query(f"histogram_quantile({p / 100:g}, {sums})", f"p{p}{f' {{{{{by}}}}}' if by else ''}")
        for p in (50, 95, 99)
    )
    return Panel(title, "s", tuple(queries), what)


def per_second(metric: str, by: str, match: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{match}[$__rate_interval]))"


FLEET = Dashboard(
    "glimpse-fleet", "Fleet", "All cameras and the server at a glance.",
    (
        Row("Now", (
            stat("Cameras connected", "none", "glimpse_sessions"),
            stat("Cameras silent", "none",
                 "count(camera:glimpse_silence_seconds > 120) or vector(0)",
                 "No layer for two minutes."),
            stat("Layers a second", "none", "sum(camera:glimpse_layers_stored:rate5m)"),
            stat("Capture to boxes, p95", "s", "glimpse:capture_to_boxes_seconds:p95_5m"),
            stat("Disk free", "percentunit", "glimpse:disk_free:ratio"),
            stat("First certificate to expire", "s", "min(glimpse_certificate_expiry_seconds)"),
        )),
        Row("Cameras", (
            one("Silent for", "s", "camera:glimpse_silence_seconds", "{{camera}}"),
            one("Layers a second", "none", "camera:glimpse_layers_stored:rate5m", "{{camera}}"),
            one("Bits a second in layers", "bps", "camera:glimpse_layer_bits:rate5m", "{{camera}}",
                "Machine layers, without headers of the way here: TLS, HTTP/2, TCP, IP."),
            one("Capture to boxes, mean", "s", "camera:glimpse_delay_seconds:mean5m", "{{camera}}"),
            one("Bits a second on the wire", "bps", "camera:glimpse_edge_wire_bits:rate5m",
                "{{camera}}", "Both ways, headers included, as each camera's kernel counts."),
            one("Share of the budget spent", "percentunit", "camera:glimpse_edge_budget:ratio",
                "{{camera}}", "Of cameras that have one."),
            one("Layers in spools", "none", "glimpse_edge_spool_frames", "{{camera}}"),
            one("Share of the spool filled", "percentunit", "camera:glimpse_edge_spool:ratio",
                "{{camera}}", "By bytes. A full one loses its oldest layers."),
            one("Reconnects in five minutes", "none",
                "increase(glimpse_edge_reconnects_total[5m])", "{{camera}}"),
        )),
        Row("Boxes", (
            quantiles("Capture to boxes", "glimpse_capture_to_boxes_seconds",
                      "The cameras' clocks and ours may differ."),
            quantiles("Detector, time of a batch", "glimpse_detect_seconds"),
            one("Detector, layers in a batch", "none",
                "rate(glimpse_detect_batch_size_sum[$__rate_interval])"
                " / rate(glimpse_detect_batch_size_count[$__rate_interval])", "mean"),
            Panel("Detector, trouble", "none", (
                Query("glimpse_detect_queue_layers", "layers that wait"),
                Query("rate(glimpse_detect_failures_total[$__rate_interval])", "failures a second"),
                Query("rate(glimpse_chain_loads_total[$__rate_interval])",
                      "chains read again a second"),
            )),
        )),
        Row("Store", (
            quantiles("Commit", "glimpse_store_commit_seconds"),
            Panel("Room", "bytes", (
                Query("glimpse_store_used_bytes", "used by frames"),
                Query("glimpse_disk_free_bytes", "free on the disk"),
            )),
            one("Layers by what became of them", "none",
                per_second("glimpse_layers_total", "outcome"), "{{outcome}}"),
            one("Commits that failed", "none",
                "increase(glimpse_store_failures_total[$__rate_interval])"),
        )),
        Row("People and programs", (
            one("Viewers", "none", "glimpse_viewers"),
            Panel("Refused", "none", (
                Query("rate(glimpse_failed_logins_total[$__rate_interval])", "logins a second"),
                Query(per_second("glimpse_refused_calls_total", "status"), "calls: {{status}}"),
            )),
            Panel("Events out", "none", (
                Query(per_second("glimpse_events_total", "rule"), "{{rule}} a second"),
                Query("glimpse_webhook_queue", "waiting for {{webhook}}"),
                Query("rate(glimpse_events_missed_total[$__rate_interval])", "missed a second"),
            )),
            Panel("Process", "none", (
                Query("rate(process_cpu_seconds_total[$__rate_interval])", "cores"),
                Query("process_resident_memory_bytes / 2^30", "GiB of memory"),
            )),
        )),
    ),
)  # fmt: skip

CAMERA = Dashboard(
    "glimpse-camera", "Camera", "One camera: what it sends, what that costs, how late it is.",
    (
        Row("Now", (
            stat("Silent for", "s", 'camera:glimpse_silence_seconds{camera="$camera"}'),
            stat("Layers a second", "none",
                 'camera:glimpse_layers_stored:rate5m{camera="$camera"}'),
            stat("Bytes a layer", "bytes",
                 'camera:glimpse_layer_bits:rate5m{camera="$camera"} / 8'
                 ' / camera:glimpse_layers_stored:rate5m{camera="$camera"}'),
            stat("Capture to boxes, mean", "s",
                 'camera:glimpse_delay_seconds:mean5m{camera="$camera"}'),
        )),
        Row("By its own account, a word a minute", (
            one("Frames a second by what became of them", "none",
                'sum by (outcome) (rate(glimpse_edge_frames_total{camera="$camera"}[5m]))',
                "{{outcome}}", "captured: all. skipped: no time to code them, or bad. thinned: "
                "for the rate. expired: from a full spool."),
            Panel("Bits a second on the wire", "bps", (
                Query('camera:glimpse_edge_wire_bits:rate5m{camera="$camera"}', "spent"),
                Query('glimpse_edge_uplink_budget_bytes{camera="$camera"} * 8', "budget"),
            ), "Both ways, headers included. A budget of 0 is none."),
            one("Quality", "percentunit", 'glimpse_edge_quality{camera="$camera"}'),
            one("Layers in the spool", "none", 'glimpse_edge_spool_frames{camera="$camera"}'),
            Panel("Bytes in the spool", "bytes", (
                Query('glimpse_edge_spool_bytes{camera="$camera"}', "layers"),
                Query('glimpse_edge_spool_max_bytes{camera="$camera"}', "bound"),
            ), "At its bound the oldest layers expire."),
            one("Oldest layer in the spool", "s",
                'glimpse_edge_spool_oldest_seconds{camera="$camera"}'),
            one("Reconnects in five minutes", "none",
                'increase(glimpse_edge_reconnects_total{camera="$camera"}[5m])'),
        )),
        Row("In the cloud", (
            one("Layers by what became of them", "none",
                per_second("glimpse_layers_total", "outcome", '{camera="$camera"}'), "{{outcome}}"),
            one("Bits a second by kind of layer", "bps",
                per_second("glimpse_layer_bytes_total", "kind", '{camera="$camera"}') + " * 8",
                "{{kind}}", "intra: alone; inter: what changed since the one before; auxiliary: "
                "asked for when somebody wanted a picture."),
            one("Capture to boxes, mean", "s",
                'rate(glimpse_camera_delay_seconds_sum{camera="$camera"}[$__rate_interval])'
                ' / rate(glimpse_camera_delay_seconds_count{camera="$camera"}[$__rate_interval])'),
            one("Layers that cannot be read", "none",
                'increase(glimpse_unreadable_layers_total{camera="$camera"}[$__rate_interval])',
                what="Damaged, or one that they lean on is missing."),
            one("Reference pictures since the server's start", "none",
                'sum by (outcome) (glimpse_stills_total{camera="$camera"})', "{{outcome}}",
                "Good stills that a camera sends of itself now and then, behind all else."),
            one("Their bytes", "bytes", 'glimpse_still_bytes_total{camera="$camera"}',
                "reference pictures"),
        )),
    ),
    of_one_camera=True,
)  # fmt: skip

DECODER = Dashboard(
    "glimpse-decoder", "Decoder", "Pictures that people asked for.",
    (
        Row("Now", (
            stat("Pictures that wait", "none", "glimpse_decode_queue_depth"),
            stat("Pictures in this time", "none",
                 "round(sum(increase(glimpse_decode_cache_total[$__range])))"),
            stat("Made before", "percentunit",
                 'sum(increase(glimpse_decode_cache_total{hit="true"}[$__range]))'
                 " / sum(increase(glimpse_decode_cache_total[$__range]))"),
            stat("With a reference picture", "percentunit",
                 'sum(increase(glimpse_decode_reference_total{used="true"}[$__range]))'
                 " / sum(increase(glimpse_decode_reference_total[$__range]))",
                 "They show what has not changed since as it was seen then."),
            stat("Failed", "none", "round(increase(glimpse_decode_failures_total[$__range]))"),
            stat("Viewers", "none", "glimpse_viewers"),
        )),
        Row("Time", (
            one("Pictures that wait", "none", "glimpse_decode_queue_depth"),
            one("A picture, mean by phase", "s",
                per_second("glimpse_decode_seconds_sum", "phase")
                + " / " + per_second("glimpse_decode_seconds_count", "phase"), "{{phase}}",
                "wait: in the queue; load: the decoder into memory."),
            one("A picture, p95 by phase", "s",
                "histogram_quantile(0.95, "
                + per_second("glimpse_decode_seconds_bucket", "le, phase") + ")", "{{phase}}"),
            one("Decoder's share of the time", "percentunit",
                'sum(rate(glimpse_decode_seconds_sum{phase!="wait"}[$__rate_interval]))', "busy"),
        )),
        Row("Where pictures come from", (
            Panel("Pictures asked for, a second", "none", (
                Query(per_second("glimpse_decode_cache_total", "hit", '{hit="false"}'), "made"),
                Query(per_second("glimpse_decode_cache_total", "hit", '{hit="true"}'),
                      "made before"),
            )),
            one("Auxiliary layers asked of cameras, a second", "none",
                per_second("glimpse_auxiliary_fetch_total", "outcome"), "{{outcome}}"),
            Panel("Pictures made, a second", "none", (
                Query(per_second("glimpse_decode_reference_total", "used", '{used="true"}'),
                      "with a reference picture"),
                Query(per_second("glimpse_decode_reference_total", "used", '{used="false"}'),
                      "without"),
            )),
            one("Failures", "none", "increase(glimpse_decode_failures_total[$__rate_interval])"),
        )),
    ),
)  # fmt: skip

DASHBOARDS = (FLEET, CAMERA, DECODER)


def as_json(dashboard: Dashboard) -> str:
    """What Grafana reads."""
    model = {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.what,
        "tags": ["glimpse"],
        "schemaVersion": 39,
        "editable": False,
        "timezone": "browser",
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {"type": "dashboards", "title": "glimpse", "tags": ["glimpse"], "keepTime": True}
        ],
        "templating": {"list": [_choice()] if dashboard.of_one_camera else []},
        "panels": list(_laid_out(dashboard)),
    }
    return json.dumps(model, indent=1) + "\n"


def _choice() -> dict[str, Any]:
    query = "label_values(glimpse_last_layer_timestamp_seconds, camera)"
    return {
        "name": "camera", "label": "Camera", "type": "query", "datasource": SOURCE,
        "query": {"query": query, "refId": "camera"}, "definition": query,
        "refresh": 2, "sort": 1, "multi": False, "includeAll": False,
    }  # fmt: skip


def _laid_out(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Rows below each other, each of lines that are as full as the others, without a hole."""
    y = 0
    number = 0
    for row in dashboard.rows:
        number += 1
        place = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        yield {
            "id": number, "type": "row", "title": row.title, "gridPos": place,
            "collapsed": False, "panels": [],
        }  # fmt: skip
        y += 1
        for line in _lines(row.panels):
            width, height = _COLUMNS // len(line), _HEIGHT[line[0].kind]
            for x, panel in enumerate(line):
                number += 1
                yield _panel(number, panel, {"x": x * width, "y": y, "w": width, "h": height})
            y += height


def _lines(panels: tuple[Panel, ...]) -> Iterator[tuple[Panel, ...]]:
    """Of one kind; as few as can be."""
    count = -(-len(panels) // _ACROSS[panels[0].kind])
    start = 0
    for line in range(count):
        end = start + -(-(len(panels) - start) // (count - line))
        yield panels[start:end]
        start = end


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    custom = {"fillOpacity": 8, "showPoints": "never"} if panel.kind == "timeseries" else {}
    options: dict[str, Any] = {"tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.what,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": [],
        },
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": q.expr,
             "legendFormat": q.legend, "instant": panel.kind == "stat"}
            for i, q in enumerate(panel.queries)
        ],
    }  # fmt: skip


def stale() -> list[Path]:
    """Files that are missing, differ, or should not be there."""
    wanted = {FOLDER / f"{board.uid}.json": as_json(board) for board in DASHBOARDS}
    differ = [p for p, text in wanted.items() if not p.exists() or p.read_text() != text]
    return differ + [path for path in FOLDER.glob("*.json") if path not in wanted]


def main(arguments: list[str]) -> int:
    if arguments == ["--rewrite"]:
        for path in FOLDER.glob("*.json"):
            path.unlink()
        for board in DASHBOARDS:
            (FOLDER / f"{board.uid}.json").write_text(as_json(board))
        return 0
    for path in stale():
        print(f"{path} is out of date: --rewrite")
    return 1 if stale() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
