"""A configuration file: YAML for one camera, or for many that share what stands at its top.

    server: cloud.example.org:50051          # for all
    cameras:
      gate: {source: "rtsp://10.0.0.7/live", token_file: gate.token}
      yard: {source: /dev/video0, fps: 2}

Without `cameras` the file describes one camera. Keys are the names of the settings; paths are
relative to the folder that the process runs in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.errors import BadSettings
from edge.settings import EdgeSettings, environment_camera, read_file, settings_and_faults


@dataclass(frozen=True, slots=True)
class Configuration:
    """shared: what stands at the top; cameras: by name, empty when the file describes one."""

    path: Path
    shared: Mapping[str, Any]
    cameras: Mapping[str, Mapping[str, Any]]

    def settings(self, camera: str | None, **flags: Any) -> EdgeSettings:
        """Of one camera, overruled by the environment and by those flags that are not None.

        Raises BadSettings naming the file, the camera and each key that is wrong, or the cameras
        to choose from.
        """
        settings, faults = self._read(self._choose(camera), flags)
        if settings is None:
            raise BadSettings("; ".join(faults))
        return settings

    def check(self) -> tuple[list[EdgeSettings], list[str]]:
        """The settings of every camera that has none, and all faults, its files' included."""
        good, faults = [], []
        for name in self.cameras or [None]:
            settings, found = self._read(name, {})
            if settings is not None:
                found = [f"{self._where(settings.camera)}: {e}" for e in _bad_files(settings)]
            if settings is not None and not found:
                good.append(settings)
            faults += found
        return good, faults

    def _choose(self, camera: str | None) -> str | None:
        """The camera's name; None where only the settings themselves know it."""
        if not self.cameras:
            return camera
        name = camera or environment_camera()
        if name is None and len(self.cameras) == 1:
            (name,) = self.cameras
        if name not in self.cameras:
            names = ", ".join(self.cameras)
            what = "which camera" if name is None else f"there is no camera {name}"
            raise BadSettings(f"{self.path}: {what}: --camera is to be one of {names}")
        return name

    def _read(
        self, camera: str | None, flags: Mapping[str, Any]
    ) -> tuple[EdgeSettings | None, list[str]]:
        own = self.cameras.get(camera, {}) if camera is not None else {}
        settings, faults = settings_and_faults({**self.shared, **own}, {**flags, "camera": camera})
        where = self._where(camera or self.shared.get("camera") or environment_camera())
        return settings, [f"{where}: {fault}" for fault in faults]

    def _where(self, camera: object) -> str:
        return f"{self.path}: camera {camera}" if camera else str(self.path)


def read_configuration(path: Path) -> Configuration:
    """Raises BadSettings for a file that cannot be read or is no configuration."""
    content = _parse(path)
    faults = [f"{key!r} is not a name of a setting" for key in content if not isinstance(key, str)]
    cameras = content.pop("cameras", None)
    if cameras is None:
        cameras = {}
    elif not isinstance(cameras, dict) or not cameras:
        faults.append("cameras: names of cameras, and their settings under each")
        cameras = {}
    elif "camera" in content:
        faults.append("camera: there are cameras too; their keys are their names")
    faults += [fault for name, own in cameras.items() for fault in _camera_faults(name, own)]
    if faults:
        raise BadSettings("; ".join(f"{path}: {fault}" for fault in faults))
    return Configuration(path, content, {name: own or {} for name, own in cameras.items()})


def _camera_faults(name: object, own: object) -> list[str]:
    if not isinstance(name, str):
        return [f'camera {name!r}: a name is a text: "{name}" in quotes']
    if own is not None and not isinstance(own, dict):
        return [f"camera {name}: its settings are to stand under it"]
    if own and "camera" in own:
        return [f"camera {name}: camera: that is its name already"]
    wrong = [key for key in own or {} if not isinstance(key, str)]
    return [f"camera {name}: {key!r} is not a name of a setting" for key in wrong]


def _bad_files(settings: EdgeSettings) -> list[str]:
    """What is wrong with the files that the settings name."""
    faults = []
    for read in (settings.read_token, settings.read_authority, settings.read_own):
        try:
            read()
        except BadSettings as error:
            faults.append(str(error))
    return faults


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML forbids it, PyYAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} stands twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse(path: Path) -> dict[Any, Any]:
    try:
        content = yaml.load(read_file(path, "configuration file"), _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BadSettings(f"{path}: {line}{error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # 2026-99-99 is a ValueError
        raise BadSettings(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadSettings(f"{path}: to hold keys and values, not a {type(content).__name__}")
    return content
