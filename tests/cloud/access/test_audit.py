"""Who read which layer: a line each, or no layer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import grpc
import pytest

from cloud.access.audit import Audit
from cloud.access.identity import Identity
from common.errors import BadSettings, StoreFull
from common.types import FrameId
from glimpse.v1 import archive_pb2, archive_pb2_grpc
from tests.cloud.serving import Served, raw_channel, serving

ALICE = Identity("viewer", "alice")
FRAME = FrameId("gate", "b1", 7)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_for_each_reading(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    audit = Audit(path)
    audit.read(ALICE, "192.0.2.7", "GetFrame", FRAME, 361)
    path.rename(tmp_path / "audit.1")  # as logrotate does
    audit.read(ALICE, "192.0.2.7", "GetFrame", FRAME, 362)
    [first], [second] = lines(tmp_path / "audit.1"), lines(path)
    assert str(first.pop("at")) <= str(second.pop("at"))
    assert first == {
        "who": "viewer alice",
        "from": "192.0.2.7",
        "call": "GetFrame",
        "frame": "gate/b1/7",
        "bytes": 361,
    }
    assert second["bytes"] == 362
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_log_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Audit(None).read(ALICE, "192.0.2.7", "GetFrame", FRAME, 361)
    assert "gate/b1/7" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_known_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="audit"):
        Audit(tmp_path)


def test_nobody_looks_unseen(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "new" / "audit")
    (tmp_path / "new" / "audit").unlink()
    (tmp_path / "new" / "audit").symlink_to("/dev/full")
    with pytest.raises(StoreFull, match="audit"):
        audit.read(ALICE, "192.0.2.7", "GetFrame", FRAME, 361)


async def read(served: Served, seq: int) -> bytes:
    endpoint = served.endpoint(served.viewer_token)
    async with raw_channel(endpoint) as channel:
        reply = await archive_pb2_grpc.ArchiveServiceStub(channel).GetFrame(
            archive_pb2.GetFrameRequest(camera="gate", boot="b1", seq=seq),
            metadata=endpoint.metadata,
        )
    return reply.layer


async def test_a_viewers_reading_is_in_the_file(tmp_path: Path, layers: list[bytes]) -> None:
    path = tmp_path / "audit"
    async with serving(tmp_path / "data", audit=path) as served, served.camera() as camera:
        await camera.send((0, layers[0]))
        await camera.acks(1)
        assert await read(served, 0) == layers[0]
        with pytest.raises(grpc.aio.AioRpcError):
            await read(served, 1)
        [line] = lines(path)
        assert (line["who"], line["from"], line["frame"], line["bytes"]) == (
            "viewer local", "127.0.0.1", "gate/b1/0", len(layers[0]),
        )  # fmt: skip
        path.unlink()
        path.mkdir()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(read(served, 0), 20)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "audit" in str(refused.value.details())
