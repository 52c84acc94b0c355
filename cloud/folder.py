"""What lies where in the server's data folder; light to import, for commands that only look."""

from __future__ import annotations

from pathlib import Path

from cloud.certificates import CertificateFiles


def data_files(data: Path) -> tuple[Path, Path, CertificateFiles]:
    """(store, tokens, certificates) below the data folder."""
    return data / "frames.sqlite3", data / "tokens", CertificateFiles.in_folder(data / "tls")
