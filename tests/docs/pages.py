"""What the commands share that make a page of docs/ and tell whether it is up to date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(path: Path, text: str, arguments: Sequence[str]) -> int:
    """--rewrite: writes it. Else: says whether it is up to date; 1 if it is not."""
    if list(arguments) == ["--rewrite"]:
        path.write_text(text)
        return 0
    current = path.exists() and path.read_text() == text
    print("up to date" if current else f"{path.relative_to(ROOT)} is out of date: --rewrite")
    return 0 if current else 1


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    return "\n".join(lines) + "\n"
