"""Plain values, and the package's promise of types."""

from __future__ import annotations

from pathlib import Path

import pytest

import glimpse


def test_a_name_and_its_text() -> None:
    name = glimpse.FrameId("gate", "b-1_X", 7)
    assert str(name) == "gate/b-1_X/7"
    assert glimpse.FrameId.parse(str(name)) == name
    assert sorted([glimpse.FrameId("b", "b", 1), glimpse.FrameId("a", "b", 2)])[0].camera == "a"


@pytest.mark.parametrize("text", ["", "gate", "gate/b1", "gate/b1/", "/b/1", "gate/b1/-1", "a/b/²"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="CAMERA/BOOT/SEQ"):
        glimpse.FrameId.parse(text)


def test_everything_public_is_there_and_typed() -> None:
    assert all(hasattr(glimpse, name) for name in glimpse.__all__)
    assert sorted(glimpse.__all__) == glimpse.__all__
    assert (Path(glimpse.__file__).parent / "py.typed").exists()


def test_every_error_says_what_it_is() -> None:
    kinds = [getattr(glimpse, name) for name in glimpse.__all__]
    errors = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(errors) == 12
    assert all(issubclass(kind, glimpse.Error) and kind.__doc__ for kind in errors)
