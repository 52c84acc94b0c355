from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import BadSettings
from edge.configuration import Configuration, read_configuration
from edge.settings import EdgeSettings

MANY = """
server: cloud.example.org:443
fps: 4
cameras:
  gate:
    source: rtsp://10.0.0.7/live
    masks:
      - [[0, 0], [1, 0], [0.5, 0.25]]
  yard: {source: /dev/video0, fps: 2, source_options: {framerate: 15}}
  pool:
"""

ONE = """
camera: gate
source: clip.mp4
boxes: no
"""


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EdgeSettings.model_fields:
        monkeypatch.delenv(f"GLIMPSE_EDGE_{name.upper()}", raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cameras.yaml"


def read(file: Path, text: str) -> Configuration:
    file.write_text(text)
    return read_configuration(file)


def test_one_camera(file: Path) -> None:
    settings = read(file, ONE).settings(None)
    assert (settings.camera, settings.source, settings.boxes) == ("gate", "clip.mp4", False)
    assert settings.fps == 5
    assert read(file, ONE).settings("yard").camera == "yard"


def test_many_cameras_share_what_stands_at_the_top(file: Path) -> None:
    configuration = read(file, MANY)
    gate, yard, pool = map(configuration.settings, ("gate", "yard", "pool"))
    assert [s.camera for s in (gate, yard, pool)] == ["gate", "yard", "pool"]
    assert [s.fps for s in (gate, yard, pool)] == [4, 2, 4]
    assert [s.source for s in (gate, yard, pool)] == ["rtsp://10.0.0.7/live", "/dev/video0", None]
    assert {s.server for s in (gate, yard, pool)} == {"cloud.example.org:443"}
    assert gate.masks == (((0, 0), (1, 0), (0.5, 0.25)),)
    assert yard.source_options == {"framerate": "15"}


def test_environment_and_flags_overrule_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_EDGE_FPS", "7")
    monkeypatch.setenv("GLIMPSE_EDGE_QUALITY", "0.9")
    settings = read(file, MANY).settings("yard", quality=0.1, server=None)
    assert (settings.fps, settings.quality) == (7, 0.1)
    assert settings.server == "cloud.example.org:443"


def test_which_camera(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = read(file, MANY)
    with pytest.raises(BadSettings, match=r"which camera: .* one of gate, yard, pool"):
        configuration.settings(None)
    with pytest.raises(BadSettings, match="there is no camera door"):
        configuration.settings("door")
    monkeypatch.setenv("GLIMPSE_EDGE_CAMERA", "yard")
    assert configuration.settings(None).camera == "yard"
    assert configuration.settings("pool").camera == "pool"
    monkeypatch.delenv("GLIMPSE_EDGE_CAMERA")
    assert read(file, "cameras: {door: {}}").settings(None).camera == "door"


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("fsp: 3", ["fsp: no such setting; is fps meant?"]),
        ("fps: 300\nquality: lots", ["fps: Input should be less", "quality: Input should be a"]),
        ("server: nowhere", ["server: 'nowhere' is not HOST:PORT"]),
        ("camera: Gate!", ["camera Gate!: camera: "]),
        ("cameras: {gate: {fps: 0}, yard: {fsp: 1}}",
         ["camera gate: fps: Input", "camera yard: fsp: no such"]),
        ("fps: 0\ncameras: {gate: , yard: }", ["camera gate: fps: ", "camera yard: fps: "]),
        ("cameras: {gate: {masks: [[[0, 0], [1, 1]]]}}", ["camera gate: masks: mask 1: 2 corners"]),
        ("cameras: {gate: {masks: [[[0, 0], [1]]]}}", ["camera gate: masks.0.1"]),
        ("cameras: {Gate: {}}", ["camera Gate: camera: "]),
        ("cameras: {gate: {token_file: none}}", ["camera gate: token file none: No such file"]),
        ("cameras: {gate: {token: a, token_file: b}}", ["camera gate: token and token_file"]),
    ],
)  # fmt: skip
def test_each_fault_names_file_camera_and_key(file: Path, text: str, faults: list[str]) -> None:
    good, found = read(file, text).check()
    assert good == []
    assert len(found) == len(faults)
    for fault, expected in zip(found, faults, strict=True):
        assert fault.startswith(f"{file}: ")
        assert expected in fault


def test_a_good_camera_beside_a_bad_one(file: Path) -> None:
    good, faults = read(file, "cameras: {gate: {fps: 0}, yard: {fps: 1}}").check()
    assert [settings.camera for settings in good] == ["yard"]
    assert len(faults) == 1


def test_a_fault_of_the_environment_is_not_blamed_on_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIMPSE_EDGE_FPS", "many")
    with pytest.raises(BadSettings, match=r"fps \(from GLIMPSE_EDGE_FPS\): "):
        read(file, MANY).settings("gate")
    monkeypatch.delenv("GLIMPSE_EDGE_FPS")
    monkeypatch.setenv("GLIMPSE_EDGE_MASKS", "[[")
    with pytest.raises(BadSettings, match=r"environment: .*masks"):
        read(file, MANY).settings("gate")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fps: 1\nfps: 2", "line 2: fps stands twice"),
        ("cameras: {gate: {}, gate: {}}", "line 1: gate stands twice"),
        ("a: [", "line 1: "),
        ("a: b: c", "line 1: "),
        ("- gate", "not a list"),
        ("gate", "not a str"),
        ("when: 2026-99-99", "not YAML"),
        ("fps: !!python/object/apply:os.getpid []", "could not determine a constructor"),
        ("fps: \0", "not YAML"),
        ("cameras: [gate]", "cameras: names of cameras"),
        ("cameras:\n  gate: 5", "camera gate: its settings"),
        ("cameras:\n  1: {}", '"1" in quotes'),
        ("cameras: {gate: {camera: yard}}", "its name already"),
        ("camera: yard\ncameras: {gate: {}}", "their keys are their names"),
        ("1: 2", "1 is not a name of a setting"),
        ("cameras: {gate: {2: 3}}", "camera gate: 2 is not a name"),
    ],
)
def test_what_is_no_configuration(file: Path, text: str, reason: str) -> None:
    with pytest.raises(BadSettings, match=reason) as caught:
        read(file, text)
    assert str(caught.value).startswith(str(file))


def test_an_empty_file_is_one_camera_with_defaults(file: Path) -> None:
    assert read(file, "# nothing yet\n").settings(None).camera == "camera"


def test_a_file_that_is_not_there(file: Path) -> None:
    with pytest.raises(BadSettings, match=f"configuration file {file}: No such file"):
        read_configuration(file)
