"""The house itself: who may import what, seen from outside.

import-linter (`make check`) reads the sources; these tests run them, or say what it has no words
for. The heavy libraries are blocked, not absent, so that the tests mean the same in every
environment.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import grimp
import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from common.bitstream import unpack

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "compressai", "diffusers")

# What common may take from the standard library: nothing that touches the world outside.
PURE = {
    "__future__", "abc", "array", "bisect", "collections", "contextlib", "copy", "dataclasses",
    "enum", "fractions", "functools", "hashlib", "heapq", "itertools", "json", "math", "numbers",
    "operator", "re", "string", "struct", "types", "typing", "zlib",
}  # fmt: skip

IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

BLOCKED = set(sys.argv[2:])
sys.meta_path.insert(0, Block())
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""


def import_all(package: str, blocked: tuple[str, ...]) -> list[str]:
    """Import every module of `package` in a fresh process that cannot import `blocked`."""
    command = [sys.executable, "-c", IMPORT_ALL, package, *blocked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_camera_process_runs_where_the_training_stack_is_not() -> None:
    assert "edge.spool" in import_all("edge", (*HEAVY, "cloud", "train", "bench"))


ENCODE = (
    IMPORT_ALL.partition("package =")[0].replace("argv[2:]", "argv[3:]")
    + """
from edge.main import main
sys.argv = ["glimpse-edge", "encode", sys.argv[1], "-o", sys.argv[2]]
main()
"""
)


def test_a_picture_is_coded_where_the_training_stack_is_not(tmp_path: Path) -> None:
    """With the weights that ship, by a process that cannot import torch or its like."""
    photo = tmp_path / "photo.png"
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    Image.fromarray(noise).save(photo)
    command = [sys.executable, "-c", ENCODE, str(photo), str(tmp_path), *HEAVY, "cloud"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    header, _ = unpack((tmp_path / "photo.glimpse").read_bytes(), None)
    assert (header.width, header.height) == (160, 120)


def test_the_server_needs_nothing_of_the_camera_or_of_training() -> None:
    blocked = ("torchvision", "compressai", "diffusers", "onnxruntime", "edge", "train", "bench")
    assert "cloud.store" in import_all("cloud", blocked)


def test_the_public_package_needs_grpc_and_protobuf_only() -> None:
    import_all("glimpse", (*HEAVY, "numpy", "PIL", "common", "edge", "cloud", "train", "bench"))


def test_the_block_blocks() -> None:
    command = [sys.executable, "-c", IMPORT_ALL, "json", "json.decoder", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "json is blocked" in done.stderr


def imported_by(source: Path) -> set[str]:
    """The top-level names that a module imports anywhere in it, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or ".").partition(".")[0])
    return found


@pytest.mark.parametrize("source", sorted((ROOT / "common").rglob("*.py")), ids=lambda p: p.name)
def test_common_imports_numpy_and_what_cannot_touch_the_world(source: Path) -> None:
    assert imported_by(source) <= PURE | {"common", "numpy"}


def test_models_stand_on_common_alone() -> None:
    graph = grimp.build_graph("cloud", "common")
    reached = graph.find_upstream_modules("cloud.models", as_package=True)
    assert {name for name in reached if name.startswith("cloud")} == set()


def test_every_dependency_is_pinned_and_no_pin_names_a_build() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    pinned = {canonical(Requirement(pin).name) for pin in pins}
    assert {canonical(Requirement(text).name) for text in asked} <= pinned
    assert [pin for pin in pins if "+" in pin or "://" in pin or pin.startswith("nvidia")] == []


def test_the_camera_installs_no_training_stack() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    edge = {canonical(Requirement(text).name) for text in project["optional-dependencies"]["edge"]}
    assert edge.isdisjoint(HEAVY)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
