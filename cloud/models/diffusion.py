"""diffusers, imported late and without torchvision.

Its import takes a second, and nothing here needs it before somebody asks for a refined picture.
torchvision is hidden from it: of what is used here nothing needs that package, and a wheel of it
that does not fit the torch beside it would end the import.
"""

from __future__ import annotations

import importlib
import sys
from functools import cache
from types import ModuleType
from typing import Any


@cache
def diffusers() -> Any:
    """The module. Raises ImportError where it is not installed."""
    found: ModuleType | None = sys.modules.get("torchvision")
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # "not installed"
    try:
        module = importlib.import_module("diffusers")
        importlib.import_module("diffusers.models.unets.unet_2d")
        return module
    finally:
        if found is None:
            del sys.modules["torchvision"]
        else:
            sys.modules["torchvision"] = found
