"""docs/metrics.md, made from the server's registry and from the rules that are shipped.

python -m tests.docs.metrics             says whether the page is up to date
python -m tests.docs.metrics --rewrite   makes it so
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from cloud.metrics import Metrics
from tests.deploy.queries import rules
from tests.docs.pages import ROOT, command, table

PAGE = ROOT / "docs" / "metrics.md"

HEAD = """# Metrics

Made from the server's registry and from deploy/prometheus by `python -m tests.docs.metrics
--rewrite`; a test fails when it is out of date.

The server exports them on `metrics_listen` (127.0.0.1:9464) at `/metrics`, with those of the
process (`process_cpu_seconds_total`, `process_resident_memory_bytes`, ...). Cameras export nothing:
what they count of themselves comes up in their session, once in `telemetry_s`, and the server
exports it as `glimpse_edge_...`. A label `camera` has as many values as there are cameras with an
identity here.

`deploy/prometheus` has the configuration, the rules and their tests (`promtool test rules
deploy/prometheus/tests.yml`), `deploy/grafana` three dashboards: Fleet, Camera and Decoder, made
by `python -m deploy.grafana.make_dashboards --rewrite`. How to run them:
[deployment.md](deployment.md).
"""

_ENDINGS = {"counter": "_total", "info": "_info"}

RECORDED = """## Recorded

From the metrics above; what dashboards and alerts share.
"""

ALERTS = """## Alerts

page: someone should look now; ticket: today. What to do stands in each alert's description.
"""


def metrics() -> Iterator[MetricWrapperBase]:
    """As they are declared."""
    for value in vars(Metrics(CollectorRegistry())).values():
        if isinstance(value, MetricWrapperBase):
            yield value


def page() -> str:
    exported = (
        (f"`{_name(one)}`", str(one._type), ", ".join(one._labelnames), one._documentation)
        for one in metrics()
    )
    recorded = ((f"`{rule['record']}`", f"`{rule['expr']}`") for rule in rules("record"))
    alerts = (
        (rule["alert"], f"`{rule['expr']}`", rule.get("for", "at once"), rule["labels"]["severity"])
        for rule in rules("alert")
    )
    return (
        "\n".join(
            (
                HEAD,
                "## Exported\n",
                table(("name", "type", "labels", "what it is"), exported),
                RECORDED,
                table(("name", "expression"), recorded),
                ALERTS,
                table(("name", "fires when", "for", "severity"), alerts),
            )
        ).rstrip("\n")
        + "\n"
    )


def _name(metric: MetricWrapperBase) -> str:
    """As a query has it, without a histogram's _bucket, _sum and _count."""
    return f"{metric._name}{_ENDINGS.get(str(metric._type), '')}"


def names(text: str) -> list[str]:
    """First cells of a page's rows."""
    return re.findall(r"^\| `?([\w:]+)`? \| ", text, re.MULTILINE)


if __name__ == "__main__":
    sys.exit(command(PAGE, page(), sys.argv[1:]))
