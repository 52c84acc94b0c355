from __future__ import annotations

import inspect

import common.errors
from common.errors import GlimpseError


def test_every_error_is_a_glimpse_error_and_says_whose_fault_it_is() -> None:
    classes = [c for _, c in inspect.getmembers(common.errors, inspect.isclass)]
    assert len(classes) == 22
    for cls in classes:
        assert issubclass(cls, GlimpseError)
        assert cls is GlimpseError or "fault" in (cls.__doc__ or "")
