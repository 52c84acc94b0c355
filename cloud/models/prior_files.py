"""The files of the human decoder's own prior, against the hashes in its manifest."""

from __future__ import annotations

from pathlib import Path

from common.errors import ModelMismatch
from common.manifest import Manifest

PRIOR = "prior"


def prior_files(human: Path) -> dict[str, bytes]:
    """Path below `human`, with slashes -> content, of every file of its prior."""
    found = sorted(path for path in (human / PRIOR).rglob("*") if path.is_file())
    return {path.relative_to(human).as_posix(): path.read_bytes() for path in found}


def own_prior(human: Path, manifest: Manifest) -> Path | None:
    """Its folder, each file as the manifest says; None where there is none.

    Raises ModelMismatch naming a file that is damaged, missing or not the manifest's.
    """
    folder = human / PRIOR
    if not folder.exists():
        return None
    files = prior_files(human)
    if missing := sorted(set(manifest.beside) - set(files)):
        raise ModelMismatch(f"{human / missing[0]} is missing: install this model again")
    for name, data in files.items():
        manifest.verify(name, data)
    return folder
