"""The command line and the lines of results that the benchmarks share."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from harness.evaluate.throughput import median_ratio


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


def compared(name: str, base: str, seconds: dict[str, list[float]]) -> dict[str, object]:
    """A line of a table: a step against another one that was timed in turn with it."""
    return {
        "step": name,
        "ms": 1000 * statistics.median(seconds[name]),
        "against": base,
        "its ms": 1000 * statistics.median(seconds[base]),
        "ratio": median_ratio(seconds[name], seconds[base]),
    }


def show(lines: Sequence[dict[str, object]], about: str, arguments: argparse.Namespace) -> None:
    """Print them under a heading; keep them as CSV where asked."""
    table = pd.DataFrame(lines)
    print(f"{about}, {arguments.device}, {arguments.threads} threads, fp32\n")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)
