"""Writes docs/performance.md: what training steps take against the same written plainly, from the
measurements in `results/reference/`.

    python docs/write_performance.py
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/performance.md"
MACHINE = "results/reference/amd-epyc-2-cores/benchmarks"

INTRO = f"""# How fast a training step is

Written by `docs/write_performance.py` from `{MACHINE}`:
two idle cores of an AMD EPYC, two threads, fp32. Each benchmark runs all of its steps in turn in
one process. A ratio is the time of a step over the time of the one that it is held against: the
median over turns, with the least and the largest. `make bench` measures on your machine;
`--csv FILE` keeps the numbers.

"Plain" is what one would write with timm and PyTorch alone (`benchmarks/plain_masked.py`,
`benchmarks/plain_selfdistillation.py`): attention maps in full, every patch embedded, whole last
blocks; in iBOT and AttMask every token of every view meets all prototypes, as in their released
codes. It has the same losses from the same weights (`tests/test_benchmarks.py`). "Plain, fused" has
PyTorch's fused attention wherever no map is needed.
"""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A script, and what its ratios are meant to be at least."""

    title: str
    script: str
    about: str
    goals: Mapping[str, float] = field(default_factory=dict)

    @property
    def results(self) -> str:
        """Where its numbers are."""
        return f"{MACHINE}/{self.script.replace('_', '-')}.csv"


BENCHMARKS = (
    Benchmark(
        title="MaskedKD",
        script="masked_step",
        about="DeiT-S teaches DeiT-Ti at 224 px on `keep` patches.\n"
        "`matrix products` are those of the step alone, one after the other: their ratio is the\n"
        "share of the machine's matmul rate at which the step runs. `bf16` is the recipe's\n"
        "`precision: bf16`, where the CPU has AVX512_BF16 or AMX.",
        goals={
            "batch 8, plain": 1.3,
            "batch 8, matrix products": 0.85,
            "batch 16, plain": 1.3,
            "batch 16, matrix products": 0.85,
        },
    ),
    Benchmark(
        title="Self-distillation",
        script="selfdistillation_step",
        about="ViT-Ti/16, two views of 224 px and two of 96 px, 8,192 prototypes, batch 8.",
        goals={
            "DINO, plain": 1.3,
            "iBOT, block-wise, plain": 2.2,
            "AttMask-High, plain": 2.2,
        },
    ),
)


def table(benchmark: Benchmark, root: Path) -> list[str]:
    """A line for each step that was measured or is meant to be."""
    path = root / benchmark.results
    found = {}
    if path.exists():
        with path.open(encoding="utf-8") as file:
            found = {line["step"]: line for line in csv.DictReader(file)}
    lines = ["| step | ms | against | ratio | |", "| --- | --- | --- | --- | --- |"]
    for step in (*found, *(goal for goal in benchmark.goals if goal not in found)):
        goal = benchmark.goals.get(step)
        if step not in found:
            lines.append(f"| {step} | | | not measured | goal: {goal:.2f} |")
            continue
        line = found[step]
        ratio = f"{float(line['ratio']):.2f}"
        if line.get("min"):
            ratio += f" ({float(line['min']):.2f} to {float(line['max']):.2f})"
        note = ""
        if goal is not None:
            note = f"goal: {goal:.2f}, {'met' if float(line['ratio']) >= goal else 'not met'}"
        elif line.get("by multiply-adds"):
            note = f"by multiply-adds {float(line['by multiply-adds']):.2f}"
        against = f"{line['against']}, {float(line['its ms']):.0f} ms"
        lines.append(f"| {step} | {float(line['ms']):.0f} | {against} | {ratio} | {note} |")
    return lines


def page(root: Path = ROOT) -> str:
    """The whole page."""
    parts = [INTRO]
    for one in BENCHMARKS:
        parts.append(f"## {one.title}\n\n`python benchmarks/{one.script}.py`. {one.about}\n")
        parts.append("\n".join(table(one, root)) + "\n")
    return "\n".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
