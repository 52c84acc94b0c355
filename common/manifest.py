"""The manifest of a model: its files by hash, its shape, its labels, its 16-bit id.

The id travels in every layer's header. It covers what decides how a layer is read: the hashes of
`files`, and `codec`. A new label spelling, training note or file beside them leaves it as it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import ModelMismatch

MAX_MANIFEST_BYTES = 1 << 20
MAX_FACTOR = 64

_FIELDS = ("name", "model_id", "files", "codec", "labels", "profiles", "trained")
_BESIDE = "beside"  # may be left out


@dataclass(frozen=True, slots=True)
class FileEntry:
    """What one file of the model must be: sha256 as 64 hexadecimal digits, size in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is made of. Build one with `build`, read one with `parse`.

    name      a person's name for the model
    files     file name (no folder) -> FileEntry
    codec     integers that shape the bitstream: channels, stride, pool_PROFILE, ...
    labels    class names in the detector's order
    profiles  task profile names; the index is the number in the header
    trained   free text about the training: data, steps, date
    beside    path in the folder, with slashes -> FileEntry, of files that no layer is read with
    """

    name: str
    files: Mapping[str, FileEntry]
    codec: Mapping[str, int]
    labels: tuple[str, ...]
    profiles: tuple[str, ...]
    trained: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, FileEntry] = field(default_factory=dict)

    @property
    def model_id(self) -> int:
        """0..65535: the first 16 bits of the sha256 of the canonical JSON of files and codec."""
        named = {"files": _files_json(self.files), "codec": dict(self.codec)}
        return int.from_bytes(hashlib.sha256(_canonical(named)).digest()[:2], "big")

    @property
    def factors(self) -> tuple[int, ...]:
        """Of each profile: how many positions of the latent are on a side of the blocks whose
        summary it codes (common/coding/summary.py); 1: it codes the latent itself."""
        return tuple(self.codec.get(f"pool_{name}", 1) for name in self.profiles)

    @classmethod
    def build(
        cls,
        files: Mapping[str, bytes],
        *,
        name: str,
        codec: Mapping[str, int],
        labels: tuple[str, ...],
        profiles: tuple[str, ...],
        trained: Mapping[str, str] | None = None,
        beside: Mapping[str, bytes] | None = None,
    ) -> Manifest:
        """Return the manifest of these file contents. Raises ModelMismatch for a bad name."""
        made = cls(
            name,
            _entries(files),
            dict(codec),
            tuple(labels),
            tuple(profiles),
            trained or {},
            _entries(beside or {}),
        )
        return cls.parse(made.to_json())  # one set of rules for what is written and what is read

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """Return the manifest in these JSON bytes.

        Raises ModelMismatch naming the field that is missing, wrong, or not known, and when the
        written model_id is not the one that files and codec give.
        """
        raw = _load(data)
        made = cls(
            name=_text("name", raw["name"]),
            files={k: _entry("files", [k], value) for k, value in _mapping("files", raw["files"])},
            codec={key: _integer(f"codec.{key}", v) for key, v in _mapping("codec", raw["codec"])},
            labels=_texts("labels", raw["labels"]),
            profiles=_texts("profiles", raw["profiles"]),
            trained={k: _text(f"trained.{k}", v) for k, v in _mapping("trained", raw["trained"])},
            beside={
                key: _entry(_BESIDE, key.split("/"), value)
                for key, value in _mapping(_BESIDE, raw.get(_BESIDE, {}))
            },
        )
        if not all(1 <= factor <= MAX_FACTOR for factor in made.factors):
            raise ModelMismatch(f"manifest: codec.pool_...: outside 1..{MAX_FACTOR}")
        if raw["model_id"] != f"{made.model_id:04x}":
            raise ModelMismatch(f"manifest: model_id is not {made.model_id:04x}")
        return made

    def verify(self, name: str, data: bytes) -> None:
        """Raise ModelMismatch, naming the file, unless `data` is that file's content."""
        entry = self.files.get(name) or self.beside.get(name)
        if entry is None:
            raise ModelMismatch(f"{name} is not a file of model {self.name}")
        if len(data) != entry.bytes:
            raise ModelMismatch(f"{name} has {len(data)} bytes, not {entry.bytes}")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise ModelMismatch(f"{name} is not the file of model {self.name}: its hash differs")

    def to_json(self) -> bytes:
        """Return the manifest as indented JSON with sorted keys and a final newline."""
        raw: dict[str, object] = {
            "name": self.name,
            "model_id": f"{self.model_id:04x}",
            "files": _files_json(self.files),
            "codec": dict(self.codec),
            "labels": list(self.labels),
            "profiles": list(self.profiles),
            "trained": dict(self.trained),
        }
        if self.beside:
            raw[_BESIDE] = _files_json(self.beside)
        return json.dumps(raw, indent=2, sort_keys=True).encode() + b"\n"


def _entries(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    return {
        key: FileEntry(hashlib.sha256(data).hexdigest(), len(data))
        for key, data in sorted(files.items())
    }


def _files_json(files: Mapping[str, FileEntry]) -> dict[str, dict[str, str | int]]:
    return {k: {"sha256": v.sha256, "bytes": v.bytes} for k, v in files.items()}


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ModelMismatch("manifest: too large")
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:  # ValueError covers bad UTF-8 and bad JSON
        raise ModelMismatch(f"manifest: not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ModelMismatch("manifest: not an object")
    for key in _FIELDS:
        if key not in raw:
            raise ModelMismatch(f"manifest: {key} is missing")
    for key in raw:
        if key not in (*_FIELDS, _BESIDE):
            raise ModelMismatch(f"manifest: {key[:40]!r} is not known")
    return raw


def _entry(of: str, parts: list[str], value: object) -> FileEntry:
    name = "/".join(parts)
    if any(part in ("", ".", "..") or set(part) & set("/\\\0") for part in parts):
        raise ModelMismatch(f"manifest: {of}: {name[:80]!r} is not a plain file name")
    fields = dict(_mapping(f"{of}.{name}", value))
    digest = _text(f"{of}.{name}.sha256", fields.get("sha256"))
    size = _integer(f"{of}.{name}.bytes", fields.get("bytes"))
    if len(digest) != 64 or set(digest) - set("0123456789abcdef") or size < 0 or len(fields) != 2:
        raise ModelMismatch(f"manifest: {of}.{name} is not a hash and a size")
    return FileEntry(digest, size)


def _mapping(name: str, value: object) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        raise ModelMismatch(f"manifest: {name} is not an object")
    return list(value.items())


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ModelMismatch(f"manifest: {name} is not a text")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ModelMismatch(f"manifest: {name} is not a list")
    return tuple(_text(name, item) for item in value)


def _integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelMismatch(f"manifest: {name} is not an integer")
    return value
