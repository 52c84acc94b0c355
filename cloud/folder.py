"""What lies where on the server's disk; light to import, for commands that only look."""

from __future__ import annotations

from pathlib import Path

from cloud.access.certificates import CertificateFiles

DEFAULT_WEIGHTS = Path(__file__).parents[1] / "weights"


def data_files(data: Path) -> tuple[Path, Path, CertificateFiles]:
    """(store, tokens, certificates) below the data folder."""
    return data / "frames.sqlite3", data / "tokens", CertificateFiles.in_folder(data / "tls")
