"""docs/configuration.md, made from the settings' own fields.

python -m tests.docs.configuration             says whether the page is up to date
python -m tests.docs.configuration --rewrite   makes it so
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from cloud.events.config import MqttConfig, RuleConfig, WebhookConfig
from cloud.settings import CloudSettings
from edge.settings import EdgeSettings
from tests.docs.pages import ROOT, command, table

PAGE = ROOT / "docs" / "configuration.md"

UNITS = {"_ms": "ms", "_s": "s", "_bytes": "bytes"}

HEAD = """# Configuration

Made from the settings' own fields by `python -m tests.docs.configuration --rewrite`; a test fails
when it is out of date.

A setting is taken from its command line option, else from its environment variable, else (camera
process only) from the configuration file, else it is the default. What is unknown or out of range
is an error that names it, and nothing starts.

## A file for one camera, or for many

```yaml
server: cloud.example.org:50051        # at the top: for all cameras
ca: ca.pem
spool: /var/lib/glimpse/spool
cameras:
  gate:
    source: rtsp://user:password@10.0.0.7/stream2
    token_file: gate.token
    masks:                             # painted grey before anything else sees the picture
      - [[0, 0], [0.4, 0], [0.4, 0.3], [0, 0.3]]
  yard:
    source: /dev/video0
    source_options: {video_size: 1280x720, input_format: mjpeg}
    token_file: yard.token
    fps: 2
```

A file for one camera has the same keys without `cameras`, and `camera` for its name. Paths are
relative to the folder that the process runs in.

```
glimpse-edge config check cameras.yaml                 # each camera's settings, secrets masked
glimpse-edge run --config cameras.yaml --camera gate   # or GLIMPSE_EDGE_CAMERA=gate
```

One process runs one camera: a camera that fails, or is restarted, is no other camera's trouble.
`config check` lists every fault, each with its file, camera and key, and then ends with exit
code 2.

## Live sources

A URL (RTSP always over TCP) or a V4L2 device is read by a process of its own. When it gives no
picture in time (`open_deadline_s`, then `frame_deadline_s`), ends or fails, that process is killed
and another one opens the source after `reopen_s`: 1, 2, 4, 8, 16, then every 30 seconds with the
defaults, and from 1 again once there were pictures for 10 seconds. When the camera process is
behind, it gets the newest picture and not the next one. A device that is missing at the start is
an error; a stream that does not answer yet is waited for. User, password and query of a URL are
masked wherever it is printed.
"""

EVENTS = """## Events

What goes out to others stands in a YAML file that the server's setting `events` names:

```yaml
rules:                                 # what becomes an event
  - {name: people, labels: [person], min_score: 0.6, cooldown_s: 60}
  - {name: yard, cameras: [yard], labels: [person, car], gone_after_s: 30}
webhooks:                              # who gets events over HTTP
  - name: office
    url: https://office.example.org/hook
    secret_file: office.secret
    rules: [people]
mqtt:                                  # what is there now, for Home Assistant and others
  host: broker.example.org
  username: glimpse
  password_file: mqtt.password
```

`glimpse-cloud events check FILE` says what goes where by it, or what is wrong with it.

A thing *appears* when it was seen with `min_score` in `appear_frames` frames in a row, and is
*gone* when it was not seen with `keep_score` for `gone_after_s`, by the camera's clock. What was in
view before the server started appears anew.

A webhook gets a POST for each frame with events: JSON with `frame`, `camera`, `captured_at` (unix
seconds), `events` (`rule`, `change`: appeared or gone, `label`, `score`, `count`), `width`,
`height` and all `boxes`. `Idempotency-Key` is the frame's name, and `Glimpse-Signature:
t=TIME,v1=HEX` the HMAC-SHA256 of `TIME.BODY`, which `glimpse.verify_webhook` checks. Messages come
in order and at least once: they wait on disk (`DATA/outbox.sqlite3`) until they are answered with
2xx. One that is answered with anything else but 408, 425, 429 or 5xx is dropped.

MQTT has `PREFIX/status` and `PREFIX/CAMERA/status` (online, offline), `PREFIX/CAMERA/LABEL/present`
(ON, OFF) and `PREFIX/CAMERA/LABEL/count`, all retained, and `PREFIX/events` with the same JSON.
Home Assistant finds a device for each camera by itself.
"""


def page() -> str:
    edge = _table(EdgeSettings)
    cloud = _table(CloudSettings)
    sections = f"## Camera process\n\n{edge}\n## Server\n\n{cloud}\n{EVENTS}"
    tables = (
        f"### {title}\n\n{_table(section)}"
        for title, section in (
            ("A rule", RuleConfig), ("A webhook", WebhookConfig), ("MQTT", MqttConfig),
        )
    )  # fmt: skip
    return "\n".join((HEAD, sections, *tables))


def _table(settings: type[BaseModel]) -> str:
    prefix = str(settings.model_config.get("env_prefix", ""))
    heads = ["key", *(["environment"] if prefix else []), "default", "range", "what it is"]
    rows = []
    for name, field in settings.model_fields.items():
        cells = (
            f"`{name}`",
            *([f"`{_variable(prefix, name, field)}`"] if prefix else []),
            "needed" if field.is_required() else _default(field),
            _range(name, field),
            str(field.description),
        )
        rows.append(cells)
    return table(heads, rows)


def _variable(prefix: str, name: str, field: FieldInfo) -> str:
    if isinstance(field.validation_alias, AliasChoices):
        return str(field.validation_alias.choices[0])
    return prefix + name.upper()


def _default(field: FieldInfo) -> str:
    factory = field.default_factory
    if factory is not None:
        # What a function gives depends on the machine; its docstring does not.
        return str(factory.__doc__).rstrip(".") if factory not in (dict, list) else "none"
    return _shown(field.default)


def _shown(value: Any) -> str:
    if value is None or value in ((), "") or value is PydanticUndefined:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        return f"`{value.relative_to(ROOT)}` of the installation"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _range(name: str, field: FieldInfo) -> str:
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    return " ".join(filter(None, (", ".join(_bounds(field)), unit)))


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        match bound:
            case Ge(least):
                yield f"at least {least}"
            case Gt(below):
                yield f"more than {below}"
            case Le(most):
                yield f"at most {most}"
            case Lt(above):
                yield f"less than {above}"
            case MultipleOf(step):
                yield f"a multiple of {step}"


if __name__ == "__main__":
    sys.exit(command(PAGE, page(), sys.argv[1:]))
