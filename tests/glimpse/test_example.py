"""The example that the package's docstring gives does what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import glimpse
from cloud.folder import data_files
from tests.cloud.serving import serving
from tests.glimpse.test_client import publish, sighting


async def test_three_lines(tmp_path: Path) -> None:
    blocks = re.findall(r"((?:^ {4}.*\n)+)", glimpse.__doc__ or "", re.MULTILINE)
    lines = [line[4:] for line in blocks[0].splitlines()]
    assert len(lines) == 3
    async with serving(tmp_path) as served:
        address, ca = f"127.0.0.1:{served.running.port}", data_files(tmp_path)[2].authority
        source = "\n".join(lines)
        assert source.count('"cloud.example.org:50051"') == 1
        source = source.replace('"cloud.example.org:50051"', f'"{address}", ca={str(ca)!r}')
        printed: list[tuple[Any, ...]] = []
        names: dict[str, Any] = {"glimpse": glimpse, "TOKEN": served.viewer_token}

        def write(*values: Any) -> None:
            printed.append(values)
            if len(printed) == 2:
                names["cloud"].close()

        names["print"] = write
        running = asyncio.to_thread(exec, source, names)
        await asyncio.gather(running, publish(served, sighting(1), sighting(2, "yard")))
    assert printed == [("gate", 1001.0, ["car"]), ("yard", 1002.0, ["car"])]
