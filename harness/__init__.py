"""Reproduces the tables of masked-distillation vision-transformer papers and says what holds.

`harness.load("maskedkd/table2")` is where a notebook starts: see `harness.api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.api import Results, Table, load, tables

__all__ = ["Results", "Table", "load", "tables"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: every command imports this package."""
    if name in __all__:
        from harness import api

        return getattr(api, name)
    raise AttributeError(f"module 'harness' has no attribute '{name}'")
