"""Home Assistant's MQTT discovery: a device for each camera, two entities for each label.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]+")


def configurations(
    discovery: str,
    prefix: str,
    camera: str,
    topics: Mapping[str, str],
    availability: Sequence[str],
) -> Iterator[tuple[str, str]]:
    """(topic, JSON) of each entity of a camera, to be retained.

    discovery     Home Assistant's prefix
    prefix        ours: makes the ids of two servers differ
    topics        by label: where its `present` and `count` are
    availability  topics that all say 'online' while what the entities say is true
    """
    node = _NOT_IN_IDS.sub("_", f"{prefix}_{camera}")
    shared: dict[str, Any] = {
        "availability": [{"topic": topic} for topic in availability],
        "availability_mode": "all",
        "device": {"identifiers": [node], "name": camera, "manufacturer": "glimpse"},
        "origin": {"name": "glimpse"},
    }
    for label, topic in topics.items():
        thing = _NOT_IN_IDS.sub("_", label)
        there = {
            "name": label.capitalize(),
            "unique_id": f"{node}_{thing}",
            "state_topic": f"{topic}/present",
            "device_class": "occupancy",
        }
        count = {
            "name": f"{label.capitalize()} count",
            "unique_id": f"{node}_{thing}_count",
            "state_topic": f"{topic}/count",
            "state_class": "measurement",
        }
        yield f"{discovery}/binary_sensor/{node}/{thing}/config", json.dumps(there | shared)
        yield f"{discovery}/sensor/{node}/{thing}_count/config", json.dumps(count | shared)
