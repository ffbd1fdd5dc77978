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
MACHINES = {
    "AMD EPYC": "results/reference/amd-epyc-2-cores/benchmarks",
    "Intel Xeon with AMX": "results/reference/intel-xeon-amx-2-cores/benchmarks",
}
GPU = "results/reference/nvidia-h100/benchmarks"
MFU_GOAL = 0.4

INTRO = f"""# How fast a training step is

Written by `docs/write_performance.py`. First two CPUs, of which two idle cores compute with two
threads in fp32: an AMD EPYC with AVX512_BF16 (`{MACHINES["AMD EPYC"]}`)
and an Intel Xeon with AMX (`{MACHINES["Intel Xeon with AMX"]}`).
Then [a GPU](#on-a-gpu). What is fast on one may be slow on another. Each benchmark runs all
of its steps in turn in one process. A ratio is the time of a step over the time of the one that it
is held against: the median over turns, with the least and the largest. Before it stand the
milliseconds of both, as in `752 : 706`. `make bench` measures on your machine; `--csv FILE` keeps
the numbers. Goals are this project's own: no paper states them.

"Plain" is what one would write with timm and PyTorch alone (`benchmarks/plain_masked.py`,
`benchmarks/plain_selfdistillation.py`): attention maps in full, every patch embedded, whole last
blocks; in iBOT and AttMask every token of every view meets all prototypes, as in their released
codes. It has the same losses from the same weights (`tests/test_benchmarks.py`). "Plain, fused" has
PyTorch's fused attention wherever no map is needed.
"""


CPU_REST = """Where the rest is, by torch's profiler (batch 8, keep 98), on the EPYC: products of
matrices 74 %, fused attention 14 %, everything else 12 %; on the Xeon, whose products run at the
peak of its cores, 60, 14 and 26 %. So no more than 1.1 and 1.35 times the speed is left outside
products and attention. Tried without gain: blocks compiled by torch 0.99 and 1.03 of the time,
after half a minute or more; a teacher compiled with frozen weights 0.89 of its own time, 0.96 of a
step's; oneDNN in place of MKL makes products 1.0 to 1.2 times as fast on the EPYC.
Goals are of fp32. Against plain fp32, a teacher in bf16 gives about 1.3, all of it in bf16 1.9 to
2.6.
"""

CURVES = """## The same losses

`python benchmarks/loss_curves.py`: real steps of four rows on Fashion-MNIST, from the same weights
and batches, plain and by this package, each with its own gradients and optimiser.

![Losses over {steps} steps, plain and by this package](pictures/loss-curves.png)

Losses of DINO, iBOT and AttMask-High differ by {most:.0e} at most, relative.
Those of MaskedKD differ by {before:.0e} at most before step {parted}; from there
on these are two trainings. Rounding grows from step to step, and at last decides which of two
patches is shown whose attention is all but equal (on the EPYC at once, at that step).
"""

PIPELINE = """## From JPEG files to batches

`python benchmarks/input_pipeline.py`: the same files on both sides, in turn. DINO's multi-crop (2
of 224 px, 8 of 96 px) against torchvision v2, DeiT's recipe against timm's loader; CPU milliseconds
in one process of one thread, images a second with a loader process a core. The EPYC was measured
before normalisation, colours and memory became faster on CPUs (the batches are the same, to the
bit); on the Xeon that made 1.13 and 1.02 of DeiT, and 1.51 and 1.33 of multi-crop against Pillow's
blur, into what stands here.

| against | measure | machine | ours | theirs | times as fast | |
| --- | --- | --- | --- | --- | --- | --- |
"""
PIPELINE_GOALS = {"multi-crop": 1.5, "DeiT": 1.2}
NEAR = 1e-4
"""A relative difference that rounding alone does not make."""

GPU_INTRO = f"""## On a GPU

One NVIDIA H100 80GB (SXM), torch 2.11, from `{GPU}`.
`python benchmarks/gpu.py`: a whole step of DeiT-B to DeiT-S at 224 px, keep 98, batch 1,024, random
images. MFU is the networks' own work over the card's peak in that precision (989 TFLOP/s in bf16).
Predicted: each operation takes the longer of its FLOPs at 600 TFLOP/s (in bf16) and its bytes at
2.8 TB/s.
"""

GPU_REST = """The compiled step in bf16, by torch's profiler: products of matrices 60 ms (540 to
700 TFLOP/s; a large square one reaches 790), fused attention 22 ms, the convolution that embeds
patches 10 ms, what reads and writes memory between them 70 ms. Residuals in bf16 are a way of the
benchmark; no recipe has them. Nothing is compiled unless a recipe says `compile: blocks`: small
networks lose by it, as the next table shows. Next to try: embed patches by a product of matrices.

`python benchmarks/trainings.py`: real steps of `maskedkd/table2` at its profile `cifar10` (batch
256, bf16), data and augmentation included.
"""

GPU_END = """These networks are too small to fill the card: a step waits for kernels to be launched.
Trainings with a teacher, and the whole table, were not timed.

A GPU computes what a CPU computes: {count} trainings, every method, criterion and loss of classes
among them, in fp32. The largest relative difference of a loss in the first three steps is
{most:.0e} (`tests/train/test_gpu.py` asks for 2e-5).

Not measured: whether torch itself finds a wait in a step (`tests/train/test_waiting.py` has the
test; on every machine it looks at steps without numbers), nccl, two GPUs, memory (Table 11),
throughput columns.
"""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A script, and what its ratios are meant to be at least."""

    title: str
    script: str
    about: str
    goals: Mapping[str, float] = field(default_factory=dict)
    rest: str = ""  # what stands below the table

    @property
    def results(self) -> str:
        """The file of its numbers, in a machine's folder."""
        return f"{self.script.replace('_', '-')}.csv"


BENCHMARKS = (
    Benchmark(
        title="MaskedKD",
        script="masked_step",
        about="DeiT-S teaches DeiT-Ti at 224 px on `keep` patches.\n"
        "`matrix products` are those of the step alone, one after the other: their ratio is the\n"
        "share of the machine's matmul rate at which the step runs. `teacher in bf16` is the\n"
        "recipe's `teacher_precision: bf16`, `bf16` its `precision: bf16`, where the CPU has\n"
        "AVX512_BF16 or AMX.",
        goals={
            "batch 8, plain": 1.3,
            "batch 8, matrix products": 0.85,
            "batch 16, plain": 1.3,
            "batch 16, matrix products": 0.85,
        },
        rest=CPU_REST,
    ),
    Benchmark(
        title="Self-distillation",
        script="selfdistillation_step",
        about="ViT-Ti/16, two views of 224 px and two of 96 px, 8,192 prototypes, batch 8.\n"
        "`bf16` is the recipe's `precision: bf16`. The EPYC was measured before prototypes were\n"
        "normalised in one pass. With the papers' 65,536 an iBOT step on the Xeon then took 0.74,\n"
        "0.75 and 0.98 of its time, in three comparisons on a noisy machine.",
        goals={
            "DINO, plain": 1.3,
            "iBOT, block-wise, plain": 2.2,
            "AttMask-High, plain": 2.2,
        },
    ),
)


def table(benchmark: Benchmark, root: Path) -> list[str]:
    """A line for each step that was measured or is meant to be: what it took, and what the step
    took that it is held against, on each machine.
    """
    found = {
        machine: {(line["step"], line["against"]): line for line in lines}
        for machine, lines in of_machines(root, benchmark.results).items()
    }
    about = " | ".join(f"{machine}, ms | ratio" for machine in MACHINES)
    lines = [
        f"| step | against | {about} | |",
        "| --- | --- |" + " --- |" * (2 * len(MACHINES) + 1),
    ]
    goals = dict(benchmark.goals)
    for step, against in dict.fromkeys(pair for each in found.values() for pair in each):
        measured = {machine: each.get((step, against)) for machine, each in found.items()}
        goal = None if "bf16" in against else goals.pop(step, None)  # both sides compute alike
        cells = [step, against]
        for line in measured.values():
            cells += ["", "not measured"] if line is None else [milliseconds(line), ratio(line)]
        if goal is not None:
            ratios = {name: float(line["ratio"]) for name, line in measured.items() if line}
            cells.append(f"goal: {goal:.2f}, {met(goal, ratios)}")
        else:  # what multiply-adds say is the same on every machine
            line = next(line for line in measured.values() if line)
            macs = line.get("by multiply-adds")
            cells.append(f"by multiply-adds {float(macs):.2f}" if macs else "")
        lines.append(f"| {' | '.join(cells)} |")
    for step, goal in goals.items():
        unknown = " | not measured |" * len(MACHINES)
        lines.append(f"| {step} | |{unknown} goal: {goal:.2f} |")
    return lines


def milliseconds(line: Mapping[str, str]) -> str:
    """Of the step, and of the one that it is held against."""
    return f"{float(line['ms']):.0f} : {float(line['its ms']):.0f}"


def ratio(line: Mapping[str, str]) -> str:
    """The median, with the least and the largest."""
    value, least, most = (float(line[key]) for key in ("ratio", "min", "max"))
    return f"{value:.2f} ({least:.2f} to {most:.2f})"


def met(goal: float, ratios: Mapping[str, float]) -> str:
    """On which machines."""
    where = [machine for machine, value in ratios.items() if value >= goal]
    if len(where) == len(ratios):
        return "met"
    return f"met on {', '.join(where)} alone" if where else "not met"


def of_machines(root: Path, results: str) -> dict[str, list[dict[str, str]]]:
    """The lines of a file, of every machine."""
    return {machine: read(root, f"{folder}/{results}") for machine, folder in MACHINES.items()}


def curves(root: Path) -> list[str]:
    """How far both sides are apart."""
    most, parted, before, steps = [0.0], [], [0.0], 0
    for machine, lines in of_machines(root, "loss-curves.csv").items():
        found: dict[str, list[float]] = {}
        for line in lines:
            found.setdefault(line["training"], []).append(float(line["difference"]))
        for name, one in found.items():
            steps = len(one)
            if name.startswith("MaskedKD"):
                at = next(at for at, difference in enumerate(one) if difference > NEAR)
                parted.append(f"{at + 1} ({machine})")
                before.append(max(one[:at]))
            else:
                most.append(max(one))
    if not parted:
        return []
    where = " and ".join(parted)
    return [CURVES.format(steps=steps, most=max(most), parted=where, before=max(before))]


def pipeline(root: Path) -> list[str]:
    """Ours and theirs: least, median and largest of the turns."""
    measured = [
        (machine, line)
        for machine, lines in of_machines(root, "input-pipeline.csv").items()
        for line in lines
    ]
    rows = []
    for machine, line in sorted(measured, key=lambda one: (one[1]["against"], one[1]["measure"])):
        ours, theirs, times = (
            "{1} ({0} to {2})".format(*line[key].split())
            for key in ("ours", "theirs", "times as fast")
        )
        goal = PIPELINE_GOALS[line["against"].partition(",")[0]]
        reached = met(goal, {machine: float(line["times as fast"].split()[1])})
        rows.append(
            f"| {line['against']} | {line['measure']} | {machine} | {ours} | {theirs} "
            f"| {times} | goal: {goal:.2f}, {reached} |"
        )
    return [PIPELINE + "\n".join(rows) + "\n"] if rows else []


def read(root: Path, results: str) -> list[dict[str, str]]:
    """The lines of a CSV file; none where nothing was measured."""
    path = root / results
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def gpu(root: Path) -> list[str]:
    """What was measured on one."""
    found, losses = read(root, f"{GPU}/gpu.csv"), read(root, f"{GPU}/losses.csv")
    if not found or not losses:
        return ["## On a GPU", "", "Not measured.", ""]
    best = max(float(line["MFU"]) for line in found if "bf16" in line["step"])
    goal = f"Goal in bf16: an MFU of {MFU_GOAL:.2f}, {'met' if best >= MFU_GOAL else 'not met'}.\n"
    most = max(float(value) for line in losses for key, value in line.items() if "step" in key)
    return [
        GPU_INTRO,
        "| step | ms | predicted | img/s | MFU | GiB |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {line['step']} | {float(line['ms']):.0f} ({float(line['ms, least']):.0f} to "
            f"{float(line['ms, most']):.0f}) | {float(line['H100 predicted, ms']):.0f} | "
            f"{float(line['img/s']):,.0f} | {float(line['MFU']):.2f} | "
            f"{float(line['GiB at the peak']):.0f} |"
            for line in found
        ),
        f"\n{goal}\n{GPU_REST}",
        "| training | compile | at once | img/s, all | waits for data | MFU |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {line['row']} | {line['compile']} | {line['at once']} | "
            f"{float(line['img/s']):,.0f} | {float(line['data wait']):.0%} | "
            f"{float(line['MFU']):.3f} |"
            for line in read(root, f"{GPU}/trainings.csv")
        ),
        "\n" + GPU_END.format(count=len(losses), most=most),
    ]


def page(root: Path = ROOT) -> str:
    """The whole page."""
    parts = [INTRO]
    for one in BENCHMARKS:
        parts.append(f"## {one.title}\n\n`python benchmarks/{one.script}.py`. {one.about}\n")
        parts.append("\n".join(table(one, root)) + "\n")
        if one.rest:
            parts.append(one.rest)
    parts += pipeline(root) + curves(root)
    parts.append("\n".join(gpu(root)))
    return "\n".join(parts)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
