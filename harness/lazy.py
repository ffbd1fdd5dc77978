"""PyTorch, imported when first used.

`harness plan` and `harness status` must answer at once, and importing torch takes longer than all
they do. Files that hold a registered component (a method, a criterion, an evaluator, a data set)
import torch from here; they may use it freely inside functions, but not while they are imported (no
`class X(torch.nn.Module)`: such classes live in `harness/models`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _LazyModule:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    torch = _LazyModule("torch")
