"""The command line that the benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch


def options(about: str | None, *, batch: int) -> argparse.Namespace:
    """What was asked for, with torch held to the threads; `batch` is the default."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments
