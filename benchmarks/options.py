"""The command line and the lines of results that the benchmarks share."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from harness.device import cpu_has_bf16


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
    """A line of a table: a step against another one that was timed in turn with it, and the ratio
    of both: its median over turns, the least and the largest.
    """
    ratios = [a / b for a, b in zip(seconds[name], seconds[base], strict=True)]
    return {
        "step": name,
        "ms": 1000 * statistics.median(seconds[name]),
        "against": base,
        "its ms": 1000 * statistics.median(seconds[base]),
        "ratio": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
    }


def multiplies_bf16(device: torch.device) -> bool:
    """Whether it does itself: emulated, bf16 is slower than fp32."""
    return device.type != "cpu" or cpu_has_bf16() is True


def show(lines: Sequence[dict[str, object]], about: str, arguments: argparse.Namespace) -> None:
    """Print them under a heading; keep them as CSV where asked."""
    table = pd.DataFrame(lines)
    print(f"{machine()}, torch {torch.__version__}")
    print(f"{about}, {arguments.device}, {arguments.threads} threads, fp32\n")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


def spread(values: Sequence[float]) -> str:
    """The least, the median and the largest."""
    return f"{min(values):.2f} {statistics.median(values):.2f} {max(values):.2f}"


def machine() -> str:
    """The processor, and how many cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name.strip()}, {os.cpu_count()} cores"


def show_turns(table: pd.DataFrame, turns: int, csv: Path | None) -> None:
    """Print what was measured in turns; keep it as CSV where asked."""
    print(f"{machine()}, torch {torch.__version__}; min median max of {turns} turns\n")
    print(table.to_string(index=False))
    if csv:
        table.to_csv(csv, index=False)
