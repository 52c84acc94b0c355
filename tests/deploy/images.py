"""Builds what a Dockerfile describes without Docker: its very commands, in a fresh folder.

All stages share the folder, which stands for `/`: absolute paths of the image in commands and
variables are put below it. What the base image brings, a Python and a shell, is this machine's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.queries import ROOT

_OWN = re.compile(r"(?<![\w.:/])/(?=opt/glimpse|src\b|var/lib/glimpse)")


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """(FROM, ...), (RUN, ...): a line each, comments and continuations resolved."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (s.partition(" ") for s in joined.split("\n") if s)]


@dataclass
class Image:
    """What is in it by now. env: for commands; user: uid and gid, 0 and 0 at first."""

    root: Path
    env: dict[str, str]
    cwd: Path
    user: tuple[int, int] = (0, 0)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def below(self, text: str) -> str:
        """With the image's absolute paths below the folder."""
        return _OWN.sub(f"{self.root}/", text)

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A command in it, as its user if this process may change users."""
        whole = {**self.env, **(env or {})}
        found = shutil.which(command[0], path=whole["PATH"])
        assert found is not None, f"{command[0]} is not in the image"
        uid, gid = self.user if os.geteuid() == 0 else (None, None)
        return subprocess.Popen(
            [found, *command[1:]], cwd=self.cwd, env=whole, user=uid, group=gid,
            extra_groups=None if uid is None else [], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(
        self, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        with self.start(command, env) as process:
            output, _ = process.communicate()
        return subprocess.CompletedProcess(list(command), process.returncode, output)


def build(dockerfile: Path, root: Path, python: Path, arguments: Mapping[str, str]) -> Image:
    """Raises AssertionError, with a command's output, for one that fails.

    python     what the base image calls `python`; its users must be able to run it
    arguments  build arguments
    """
    (root / "base").mkdir(parents=True)
    (root / "base" / "python").symlink_to(python)
    env = {"PATH": f"{root / 'base'}:/usr/local/bin:/usr/bin:/bin"}
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HOME"))}
    image = Image(root, env | kept, root)
    for word, rest in instructions(dockerfile):
        _apply(image, word, rest, arguments)
    return image


def _apply(image: Image, word: str, rest: str, arguments: Mapping[str, str]) -> None:
    match word:
        case "FROM" | "VOLUME" | "EXPOSE":
            pass
        case "ARG":
            name, _, default = rest.partition("=")
            image.env[name] = arguments.get(name, default)
        case "ENV":
            for name, value in re.findall(r"(\w+)=(\S+)", rest):
                image.env[name] = image.below(value).replace("$PATH", image.env["PATH"])
        case "WORKDIR":
            image.cwd = Path(image.below(rest))
            image.cwd.mkdir(parents=True, exist_ok=True)
        case "COPY":
            _copy(image, rest)
        case "RUN":
            _run(image, rest)
        case "USER":
            uid, _, gid = rest.partition(":")
            image.user = (int(uid), int(gid))
        case "HEALTHCHECK":
            image.health = [] if rest == "NONE" else json.loads(rest.partition(" CMD ")[2])
        case "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        case "CMD":
            image.command = json.loads(rest)
        case _:
            raise AssertionError(f"no idea what {word} does")


def _run(image: Image, command: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", image.below(command)], cwd=image.cwd, env=image.env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _copy(image: Image, rest: str) -> None:
    words = rest.split()
    options = [word for word in words if word.startswith("--")]
    *sources, target = words[len(options) :]
    if any(option.startswith("--from=") for option in options):
        assert all(Path(image.below(source)).exists() for source in sources)
        return
    inside = image.below(target)
    goal = Path(inside) if inside.startswith("/") else image.cwd / inside
    for source in sources:
        into = goal / Path(source).name if target.endswith("/") else goal
        _copy_one(ROOT / source, into)
        for option in options:
            into.chmod(int(option.removeprefix("--chmod="), 8))


def _copy_one(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def copied(dockerfile: Path) -> Iterator[str]:
    """What it takes from the build's context."""
    for word, rest in instructions(dockerfile):
        if word == "COPY" and "--from=" not in rest:
            yield from [part for part in rest.split()[:-1] if not part.startswith("--")]
