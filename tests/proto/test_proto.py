"""The contract: lint, no breaking change, and generated code that is what proto/ says."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.session import events
from glimpse.v1 import detection_pb2, ingest_pb2, ingest_pb2_grpc, types_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"
BUF = Path(sys.executable).parent / "buf"


def _buf(*words: str | Path, folder: Path = PROTO) -> subprocess.CompletedProcess[str]:
    command = [str(BUF), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _generator() -> Any:
    sys.path.insert(0, str(PROTO))
    try:
        return importlib.import_module("generate")
    finally:
        sys.path.remove(str(PROTO))


@pytest.fixture
def copy(tmp_path):
    """proto/ in a place where a test may spoil it."""
    return Path(shutil.copytree(PROTO, tmp_path / "proto"))


def _edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / "glimpse" / "v1" / name
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_lint():
    result = _buf("lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_lint_wants_a_comment_on_every_field(copy):
    _edit(copy, "types.proto", "  // Left edge in pixels of the source picture, 0..4096.\n", "")
    result = _buf("lint", folder=copy)
    assert 'Field "x1" should have a non-empty comment' in result.stdout


def test_nothing_breaks_the_last_release():
    result = _buf("breaking", "--against", "baseline.binpb")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("types.proto", "float x1 = 3", "double x1 = 3"),
        ("types.proto", "float x1 = 3", "float x1 = 7"),
        ("ingest.proto", "string software = 6", "string agent = 6"),
        ("ingest.proto", "GOODBYE_CODE_TIMEOUT = 8", "GOODBYE_CODE_TIMEOUT = 9"),
        ("detection.proto", "rpc Detect(", "rpc Look("),
    ],
)
def test_a_breaking_change_is_caught(copy, name, old, new):
    _edit(copy, name, old, new)
    result = _buf("breaking", "--against", "baseline.binpb", folder=copy)
    assert result.returncode == 100, result.stdout + result.stderr


def test_a_contract_may_grow(copy):
    _edit(
        copy, "types.proto", "float y2 = 6;", "float y2 = 6;\n  // Track, 0: none.\n  uint32 t = 7;"
    )
    result = _buf("breaking", "--against", "baseline.binpb", folder=copy)
    assert result.returncode == 0, result.stdout + result.stderr


def test_generated_code_is_what_proto_says():
    assert _generator().drift() == [], "run `make proto`"


def test_drift_is_noticed(tmp_path):
    folder = Path(shutil.copytree(ROOT / "glimpse", tmp_path / "glimpse")) / "v1"
    (folder / "types_pb2.py").write_text("stale = True\n")
    (folder / "ingest_pb2.pyi").unlink()
    (folder / "removed_pb2.py").touch()
    assert _generator().drift(tmp_path) == ["ingest_pb2.pyi", "removed_pb2.py", "types_pb2.py"]


def test_enums_of_the_session_are_those_of_the_wire():
    for enum, wire in (
        (events.Outcome, ingest_pb2.Outcome),
        (events.AuxiliaryOutcome, ingest_pb2.AuxiliaryOutcome),
        (events.GoodbyeCode, ingest_pb2.GoodbyeCode),
    ):
        prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", enum.__name__).upper() + "_"
        assert {prefix + item.name: item.value for item in enum} == dict(wire.items())


def test_messages_of_the_session_are_those_of_the_wire():
    renamed = {
        "captured_at": "captured_at_us",
        "retry_after": "retry_after_ms",
        "deadline": "deadline_ms",
        "gather": "gather_ms",
    }
    for message, wire in (
        (events.Hello, ingest_pb2.Hello),
        (events.Welcome, ingest_pb2.Welcome),
        (events.FrameRange, ingest_pb2.FrameRange),
        (events.LayerEntry, ingest_pb2.Layer),
        (events.Layers, ingest_pb2.Layers),
        (events.Results, ingest_pb2.Results),
        (events.FrameResult, ingest_pb2.FrameResult),
        (events.RateTarget, ingest_pb2.RateTarget),
        (events.AuxiliaryRequest, ingest_pb2.AuxiliaryRequest),
        (events.AuxiliaryReply, ingest_pb2.AuxiliaryReply),
        (events.Telemetry, ingest_pb2.Telemetry),
        (events.Goodbye, ingest_pb2.Goodbye),
    ):
        ours = [renamed.get(name, name) for name in message.__dataclass_fields__]
        only_there = {"has_boxes", "seq_step", "captured_step_us"}
        theirs = [f.name for f in wire.DESCRIPTOR.fields if f.name not in only_there]
        assert ours == theirs


def test_a_frame_costs_few_bytes_beside_its_layer():
    layer = ingest_pb2.Layer(seq=100_000, captured_at_us=1_800_000_000_000_000, data=bytes(200))
    layers = ingest_pb2.Layers(first=100_000, layers=[layer])
    sent = ingest_pb2.StreamRequest(layers=layers).SerializeToString()
    short = ingest_pb2.Layer(captured_step_us=200_123, data=bytes(60))
    message = ingest_pb2.Layers(first=100_000, layers=[short])
    assert len(ingest_pb2.StreamRequest(layers=message).SerializeToString()) - 60 <= 14
    ack = ingest_pb2.Results(acked=100_000, credits=100_064)
    answered = ingest_pb2.StreamResponse(results=ack).SerializeToString()
    assert len(sent) - 200 <= 28
    assert len(answered) <= 10


def test_services_and_types_import_as_promised():
    assert issubclass(ingest_pb2_grpc.IngestServiceServicer, object)
    assert detection_pb2.DetectResponse(boxes=[types_pb2.Box(label="car")]).boxes[0].label == "car"
    assert not detection_pb2.DetectRequest().HasField("min_score")
