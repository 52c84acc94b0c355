from __future__ import annotations

from pathlib import Path

import pytest

from edge.coding.providers import multiplies_bytes


@pytest.mark.parametrize(
    ("text", "quick"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512bw\n", False),
        ("Features\t: fp asimd aes asimdhp asimddp\n", True),
        ("Features\t: fp asimd evtstrm crc32\n", False),
        ("", False),
    ],
)
def test_a_processor_is_known_by_its_instructions(tmp_path: Path, text: str, quick: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    assert multiplies_bytes(file) is quick


@pytest.mark.parametrize(("machine", "quick"), [("arm64", True), ("AMD64", False)])
def test_where_nothing_lists_them_the_architecture_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, quick: bool
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert multiplies_bytes(tmp_path / "none") is quick
