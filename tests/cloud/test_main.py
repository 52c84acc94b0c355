"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cloud.access.identity import Identities
from cloud.access.shown import read_certificate
from cloud.folder import DEFAULT_WEIGHTS, data_files
from cloud.main import main
from cloud.server import prepare
from cloud.store import Found
from cloud.store.sqlite import SqliteFrameStore
from common.bitstream import pack, unpack
from common.types import Box, FrameId, Layer
from edge.coding.encoder import Encoder
from tests.cloud.films import Film
from tests.cloud.serving import settings

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "cloud.main"]


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """One command in this process."""

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # stay with the tests' one

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["glimpse-cloud", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return Done(int(exit_.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def files(tmp_path: Path, layers: list[bytes], encoder: Encoder) -> list[Path]:
    folder = tmp_path / "layers"
    folder.mkdir()
    paths = [folder / f"{n}.glimpse" for n in range(2)]
    for path, layer in zip(paths, layers, strict=False):
        path.write_bytes(layer)
    return paths


class TestDetect:
    def test_lines(self, run: Run, files: list[Path]) -> None:
        done = run("detect", *files)
        assert (done.code, done.err) == (0, "")
        heads = [line for line in done.out.splitlines() if not line.startswith("  ")]
        for path, head in zip(files, heads, strict=True):
            assert head.startswith(f"{path}  160x120  {path.stat().st_size} B  ")

    def test_json(self, run: Run, files: list[Path]) -> None:
        done = run("detect", *files, "--json", "--min-score", "0.01")
        assert done.code == 0
        for path, row in zip(files, done.rows, strict=True):
            assert list(row) == ["file", "width", "height", "bytes", "model", "boxes", "presences"]
            assert (row["file"], row["width"], row["height"]) == (str(path), 160, 120)
            assert row["bytes"] == path.stat().st_size
            boxes = row["boxes"]
            assert isinstance(boxes, list)
            assert boxes
            for box in boxes:
                assert list(box) == ["label", "score", "box"]
                x1, y1, x2, y2 = box["box"]
                assert 0 <= x1 <= x2 <= 160
                assert 0 <= y1 <= y2 <= 120
        assert run("detect", *files, "--json", "--min-score", "0.01").out == done.out

    def test_drawing(self, run: Run, files: list[Path], tmp_path: Path) -> None:
        done = run("detect", *files, "--json", "--draw", tmp_path / "a" / "b")
        assert done.code == 0
        assert len(done.rows) == 2  # standard output is JSON and nothing else
        for path in files:
            with Image.open(tmp_path / "a" / "b" / f"{path.stem}.png") as drawn:
                assert drawn.size == (160, 120)

    def test_drawing_on_a_photo(self, run: Run, files: list[Path], tmp_path: Path) -> None:
        photo = tmp_path / "photo.png"
        Image.new("RGB", (320, 240), (9, 8, 7)).save(photo)
        assert run("detect", files[0], "--draw", tmp_path, "--photo", photo).code == 0
        with Image.open(tmp_path / f"{files[0].stem}.png") as drawn:
            assert drawn.size == (160, 120)
            assert (9, 8, 7) in {colour for _, colour in drawn.getcolors(1 << 24) or ()}

    def test_bad_files_do_not_stop_the_good_ones(
        self, run: Run, files: list[Path], tmp_path: Path, corrupt: bytes, layers: list[bytes]
    ) -> None:
        header, body = unpack(layers[0], None)
        stranger = replace(header, model=header.model ^ 1)
        bad = {
            "empty": b"",
            "text": b"hello",
            "cut": layers[0][:-9],
            "corrupt": corrupt,
            "stranger": pack(stranger, body),
        }
        for name, data in bad.items():
            (tmp_path / name).write_bytes(data)
        names = [*bad, "missing"]
        done = run("detect", files[0], *(tmp_path / name for name in names), files[1], "--json")
        assert done.code == 3
        assert [row["file"] for row in done.rows] == [str(path) for path in files]
        for name, line in zip(names, done.err.splitlines(), strict=True):
            assert line.startswith(f"{tmp_path / name}: ")
        assert f"{stranger.model:04x}" in done.err

    def test_files_in_order_are_a_chain(
        self, run: Run, tmp_path: Path, film: Film, tiny_folder: Path
    ) -> None:
        def detect(*layers: bytes) -> Done:
            paths = [tmp_path / f"{n:02}" for n in range(len(layers))]
            for path, layer in zip(paths, layers, strict=True):
                path.write_bytes(layer)
            return run("detect", *paths, "--json", "--min-score", 0, "--weights", tiny_folder)

        def boxes(done: Done) -> list[object]:
            return [row["boxes"] for row in done.rows]

        chained, alone = detect(*film.chained), detect(*film.alone)
        assert (chained.code, chained.err) == (0, "")
        assert boxes(chained) == boxes(alone)
        assert all(boxes(alone))

        gap = detect(*film.chained[:2], b"", *film.chained[3:5], film.chained[0], film.chained[1])
        assert gap.code == 3
        assert boxes(gap) == [boxes(alone)[n] for n in (0, 1, 0, 1)]
        assert [line.split(": ")[1] for line in gap.err.splitlines()][1:] == [
            "the layer before it is missing"
        ] * 2

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [
            (["--photo", "x.png"], 2),
            (["--photo", "missing.png", "--draw", "."], 3),
            (["--min-score", "2"], 2),
            (["--draw", "/dev/null/x"], 2),
            (["--weights", "nowhere"], 3),
            (["--weights", "nowhere", "--server", "127.0.0.1:1"], 2),
            (["--server", "127.0.0.1:1"], 2),
            (["--server", "here"], 2),
        ],
    )
    def test_bad_usage(
        self, run: Run, files: list[Path], arguments: list[str], code: int, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.chdir(tmp_path)
        done = run("detect", files[0], *arguments)
        assert done.code == code
        assert done.err
        assert "Traceback" not in done.err


class TestFrames:
    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        data = tmp_path / "data"
        store = SqliteFrameStore(data_files(data)[0])
        car = Box("car", 0.9, 1.0, 2.0, 3.0, 4.0)
        store.write(
            [
                Layer(FrameId("gate", "b1", 1), 1000.0, b"123"),
                Layer(FrameId("yard", "b1", 1), 2000.0, b"1234"),
                Layer(FrameId("gate", "b1", 2), 9.2e12, b"12345"),  # a mad clock
            ],
            [Found(FrameId("gate", "b1", 1), (car,), "m-1")],
        )
        store.close()
        return data

    def test_newest_first(self, run: Run, data: Path) -> None:
        done = run("frames", "--data", data)
        assert done.code == 0
        names = [line.split()[1] for line in done.out.splitlines()]
        assert [n for n in names if "/" in n] == ["gate/b1/2", "yard/b1/1", "gate/b1/1"]

    def test_json_of_one_camera_and_label(self, run: Run, data: Path) -> None:
        assert [
            r["seq"] for r in run("frames", "--data", data, "--json", "--camera", "gate").rows
        ] == [2, 1]
        [row] = run("frames", "--data", data, "--json", "--label", "car").rows
        assert (row["camera"], row["bytes"], row["model"]) == ("gate", 3, "m-1")
        assert len(run("frames", "--data", data, "--limit", "1").out.splitlines()) == 1

    def test_looking_changes_nothing(self, run: Run, data: Path) -> None:
        path = data_files(data)[0]
        path.write_bytes(b"not a database at all" * 400)
        done = run("frames", "--data", data)
        assert (done.code, done.out) == (2, "")
        assert "cannot be read" in done.err
        assert path.read_bytes().startswith(b"not a database")

    def test_where_there_is_no_store(self, run: Run, tmp_path: Path) -> None:
        done = run("frames", "--data", tmp_path / "nowhere")
        assert done.code == 2
        assert "no store" in done.err
        assert not (tmp_path / "nowhere").exists()

    def test_between_two_moments_and_pinned(self, run: Run, data: Path) -> None:
        now = ["--since", "1970-01-01T00:20", "--until", "1970-01-02"]
        [row] = run("frames", "--data", data, "--json", *now).rows
        assert (row["camera"], row["pinned"]) == ("yard", False)
        assert run("pin", "yard/b1/1", "gate/b1/1", "--data", data).code == 0
        assert run("frames", "--data", data).out.count("(pinned)") == 2
        assert run("pin", "yard/b1/1", "--off", "--data", data).code == 0
        assert run("frames", "--data", data).out.count("(pinned)") == 1
        missing = run("pin", "yard/b1/9", "gate/b1/2", "--data", data)
        assert (missing.code, missing.err) == (3, "glimpse-cloud: not stored: yard/b1/9\n")
        for name in ("yard", "Yard/b1/1", "yard/b1/x"):
            assert run("pin", name, "--data", data).code == 2


class TestTokens:
    def test_it_is_printed_and_works(self, run: Run, tmp_path: Path) -> None:
        for role, name in (("camera", "gate"), ("viewer", "alice")):
            done = run("token", role, name, "--data", tmp_path / "new")
            assert done.code == 0
            identity = Identities(data_files(tmp_path / "new")[1]).of_token(done.out.strip())
            assert (identity.role, identity.name) == (role, name)

    @pytest.mark.parametrize("arguments", [("admin", "x"), ("camera", "../x"), ("camera",)])
    def test_bad_usage(self, run: Run, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        done = run("token", *arguments, "--data", tmp_path)
        assert (done.code, done.out) == (2, "")
        assert done.err
        assert not data_files(tmp_path)[1].exists()

    def test_a_folder_that_is_none(self, run: Run) -> None:
        done = run("token", "camera", "gate", "--data", "/dev/null")
        assert done.code == 2
        assert "/dev/null" in done.err


class TestCertificates:
    def test_of_a_server(self, run: Run, tmp_path: Path) -> None:
        done = run("certificates", "cam.example", "10.0.0.1", "--data", tmp_path)
        assert done.code == 0
        assert str(data_files(tmp_path)[2].authority) in done.out
        assert data_files(tmp_path)[2].exist()
        assert run("certificates", "no host", "--data", tmp_path).code == 2

    def test_of_cameras(self, run: Run, tmp_path: Path) -> None:
        done = run("certificates", "--camera", "gate", "--camera", "yard", "--data", tmp_path)
        assert (done.code, len(done.out.splitlines())) == (0, 2)
        gate = tmp_path / "tls" / "cameras" / "gate.pem"
        assert str(gate) in done.out
        assert read_certificate(gate.read_bytes()).camera == "gate"
        assert not data_files(tmp_path)[2].exist()  # only what was asked for
        assert run("certificates", "--withdraw", gate, "--data", tmp_path).code == 0
        assert data_files(tmp_path)[1].read_text().startswith("withdrawn gate ")

    def test_bad_usage(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "pem").write_text("no certificate")
        for arguments in (
            (), ("--camera", "../gate"), ("--withdraw", tmp_path / "pem"),
            ("--withdraw", tmp_path / "missing"),
        ):  # fmt: skip
            done = run("certificates", *arguments, "--data", tmp_path)
            assert done.code == 2
            assert done.err
        assert not (tmp_path / "tls" / "cameras-ca.pem").exists()


def test_an_events_file_is_checked(run: Run, tmp_path: Path) -> None:
    path, secret = tmp_path / "events.yaml", tmp_path / "secret"
    path.write_text(
        "rules: [{name: people}]\n"
        f"webhooks: [{{name: here, url: 'http://127.0.0.1/', secret_file: {secret}}}]"
    )
    done = run("events", "check", path)
    assert (done.code, done.out) == (2, "")
    assert "secret_file" in done.err
    secret.write_text("sixteen bytes or more")
    done = run("events", "check", path)
    assert (done.code, done.err) == (0, "")
    assert "webhook here: http://127.0.0.1/, events of all rules" in done.out
    path.write_text("rule: []")
    assert run("events", "check", path).code == 2


# ---------------------------------------------------------------- whole processes


def start(data: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "serve", "--data", str(data), "--metrics-listen", "",
               "--web-listen", "", *arguments]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@contextmanager
def server(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its address."""
    with start(data, "--listen", "127.0.0.1:0") as process:
        try:
            assert process.stderr is not None
            lines: list[str] = []
            while not (
                found := re.search(r"serving .*\bport=(\d+)", line := process.stderr.readline())
            ):
                lines.append(line)
                assert line, "".join(lines)
            yield process, f"127.0.0.1:{found[1]}"
        finally:
            process.kill()


def test_serve_watch_and_sigterm(tmp_path: Path, layers: list[bytes]) -> None:
    layer = tmp_path / "1.glimpse"
    layer.write_bytes(layers[0])
    with contextlib.closing(SqliteFrameStore(data_files(tmp_path)[0])) as store:
        store.put([Layer(FrameId("gate", "b1", 1), 1000.0, layers[0])])
    with server(tmp_path) as (process, address):
        command = [*COMMAND, "watch", "--server", address, "--data", str(tmp_path)]
        command += ["--patience", "0"]
        wrong = tmp_path / "wrong.token"
        wrong.write_text("guess\n")
        refused = subprocess.run(
            [*command, "--token-file", str(wrong)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert refused.returncode == 5
        assert refused.stderr == "glimpse-cloud: this token is not known here\n"
        for ask in (["frames"], ["detect", str(layer)]):
            options = ["--server", address, "--data", str(tmp_path), "--json"]
            done = subprocess.run(
                [*COMMAND, *ask, *options], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, "")
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            if ask == ["frames"]:
                assert [(row["camera"], row["seq"]) for row in rows] == [("gate", 1)]
            else:
                assert [(row["width"], row["height"]) for row in rows] == [(160, 120)]
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as watch:
            time.sleep(1.5)  # until it is most likely connected; if not, the test still holds
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            _, err = watch.communicate(timeout=20)
            assert watch.returncode == 4
            assert address in err
            assert "Traceback" not in err
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_port_in_use(tmp_path: Path) -> None:
    prepare(settings(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with start(tmp_path, "--listen", address) as process:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 2
            assert f"glimpse-cloud: cannot listen on {address}" in err
            assert "Traceback" not in err


def test_weights_whose_hash_does_not_match(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_WEIGHTS, tmp_path / "weights"))
    data = bytearray((folder / "detector.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "detector.safetensors").write_bytes(data)
    with start(tmp_path, "--weights", str(folder), "--listen", "127.0.0.1:0") as process:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert re.search(r"^glimpse-cloud: .*detector\.safetensors", err, re.MULTILINE)
        assert "Traceback" not in err


def test_bad_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIMPSE_CLOUD_CREDITS", "none")
    done = run("serve")
    assert done.code == 2
    assert done.err.startswith("glimpse-cloud: credits: ")


def test_no_server_to_watch(run: Run, tmp_path: Path) -> None:
    prepare(settings(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    done = run("watch", "--server", address, "--data", tmp_path, "--patience", "0.2")
    assert done.code == 4
    assert address in done.err
    assert run("watch", "--data", tmp_path / "nowhere").code == 2
