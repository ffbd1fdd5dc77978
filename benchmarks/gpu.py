"""A training step on a GPU, next to what its operations should take by their FLOPs and bytes.

    python benchmarks/gpu.py [--batch 1024] [--student deit_small_patch16_224]
                             [--teacher deit_base_patch16_224] [--keep 98] [--repeats 7]
                             [--csv FILE]

For each way (fp32, TF32, bf16, with compiled blocks, with bf16 residuals) a whole optimiser step:
student forward and backward, choice of patches, teacher forward, AdamW. The prediction counts every
operation of that step on tensors without numbers (torch's device `meta`) and gives each the longer
of its two times, FLOPs over the rate of products of matrices and bytes over the rate of the memory;
where blocks are compiled, operations between two products read and write what goes in and out of
them alone. It is no measurement, and stands beside one to show where a step loses time.

Without a GPU it says what it would measure, with the prediction for an H100.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.build import build_bare, freeze
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.precision import float32_products
from harness.train.compiled import compile_blocks
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer
from harness.train.peaks import peak_flops

H100 = "NVIDIA H100 80GB HBM3"
REACHED = {"bf16": 600e12, "tf32": 350e12, "fp32": 50e12}
"""FLOP/s of large products of matrices that an H100 reaches, of a peak of 989, 495 and 67: assumed
from published measurements of 550 to 650 in bf16; the other two in proportion of what is usual."""
MEMORY = 2.8e12
"""Bytes a second that it reaches, of a peak of 3.35e12."""
VIEWS = ("view", "reshape", "expand", "permute", "transpose", "detach", "split", "slice", "select")


@dataclass(frozen=True, slots=True)
class Way:
    """How a step computes."""

    name: str
    precision: str
    compiled: bool = False
    half_residuals: bool = False  # what runs from block to block is bf16 too


WAYS = (
    Way("fp32", "fp32"),
    Way("fp32, products in TF32", "tf32"),
    Way("bf16", "bf16"),
    Way("bf16, compiled blocks", "bf16", compiled=True),
    Way("the same, residuals in bf16", "bf16", compiled=True, half_residuals=True),
)


class Roofline(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what every operation should take."""

    def __init__(self, flops: float, memory: float, *, fused: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = self.flops = self.bytes = 0.0
        self._flops, self._memory, self._fused = flops, memory, fused
        self._made: set[int] = set()  # storages that were made since the last product
        self._open: list[Tensor] = []  # kept, or an address could serve twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operation, and count it."""
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        inputs = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        outputs = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        if packet in flop_registry:
            flops = float(flop_registry[packet](*args, **(kwargs or {}), out_val=result))
            self._add(flops, _bytes(inputs) + _bytes(outputs))
            self._made.clear()
            self._open.clear()
        elif not packet.__name__.startswith(VIEWS) and packet.__name__ != "t":
            self._pointwise(inputs, outputs)
        return result

    def _pointwise(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        if not self._fused:
            self._add(0.0, _bytes(inputs) + _bytes(outputs))
            return
        outside = [one for one in inputs if _storage(one) not in self._made]
        new = [one for one in outputs if _storage(one) not in self._made]
        # what is made and read within one kernel is written once, for the backward pass
        self._add(0.0, _bytes(outside) + _bytes(new) / 2)
        self._made.update(_storage(one) for one in (*outputs, *outside))
        self._open += [*outputs, *outside]

    def _add(self, flops: float, moved: float) -> None:
        self.flops += flops
        self.bytes += moved
        self.seconds += max(flops / self._flops, moved / self._memory)


class AsOnGpu(TorchFunctionMode):
    """What `meta` leaves out: fused attention, and autocast to `precision`."""

    PRODUCTS = (
        torch.nn.functional.linear,
        torch.nn.functional.conv2d,
        torch.conv2d,
        torch.matmul,
        Tensor.matmul,
        Tensor.__matmul__,
    )

    def __init__(self, precision: str) -> None:
        super().__init__()
        self._half = precision == "bf16"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it as a GPU would."""
        attention = func is torch.nn.functional.scaled_dot_product_attention
        if self._half and (attention or func in self.PRODUCTS):
            args = [one.bfloat16() if isinstance(one, Tensor) else one for one in args]
        if attention:
            fused = torch.ops.aten._scaled_dot_product_efficient_attention
            return fused(*args[:3], None, compute_log_sumexp=True)[0]
        return func(*args, **(kwargs or {}))


def _halved(block: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return inputs[0].bfloat16(), *inputs[1:]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensors: list[Tensor]) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def training_step(
    options: argparse.Namespace, device: torch.device, way: Way
) -> Callable[[], object]:
    """A whole optimiser step on a fixed random batch."""
    student, teacher = (
        build_bare(ModelConfig(arch=arch), classes=1000, device=device)
        for arch in (options.student, options.teacher)
    )
    objective = Distillation(mask=Mask(keep=options.keep)).build(
        Networks(student=student.train(), teacher=freeze(teacher))
    )
    if way.half_residuals:
        for network in (student, teacher):
            network.vit.blocks[0].register_forward_pre_hook(_halved)
    if way.compiled and device.type == "cuda":
        compile_blocks([student, teacher], device)
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(student.parameters(), foreach=True)
        if device.type == "meta"
        else build_optimizer(objective.modules, Recipe(epochs=1, batch_size=2, lr=1e-4))
    )
    size = student.image_size
    data = Batch(
        images=torch.randn(options.batch, 3, size, size, device=device),
        targets=torch.rand(options.batch, 1000, device=device).softmax(dim=1),
    )
    step = Step(index=0, total=1, generator=torch.Generator())
    autocast_here = way.precision == "bf16" and device.type != "meta"

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16) if autocast_here else nullcontext():
            losses = objective.losses(data, step)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def predicted(options: argparse.Namespace, way: Way) -> Roofline:
    """By the operations of a step whose tensors have shapes only."""
    run = training_step(options, torch.device("meta"), way)
    count = Roofline(REACHED[way.precision], MEMORY, fused=way.compiled)
    with AsOnGpu(way.precision), count:
        run()
    return count


def measured(options: argparse.Namespace, way: Way) -> tuple[list[float], int]:
    """Seconds of each of some steps, and bytes at the peak."""
    device = torch.device("cuda")
    with float32_products(way.precision, device):
        run = training_step(options, device, way)
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        taken = []
        for _ in range(options.repeats):
            begun = time.perf_counter()
            run()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - begun)
    return taken, int(torch.cuda.max_memory_allocated())


def image_flops(options: argparse.Namespace) -> float:
    """Of the networks' own work on an image, as `mfu` in `metrics.jsonl` counts it."""
    student, teacher = (ModelConfig(arch=arch).shape for arch in (options.student, options.teacher))
    passes = 3 * efficient_macs(student, keep=student.patches, classes=1000).total
    return 2.0 * (passes + efficient_macs(teacher, keep=options.keep, classes=1000).total)


def line(options: argparse.Namespace, way: Way, card: str | None) -> dict[str, object]:
    """Of the table: the prediction for an H100, and what was measured where there is a GPU."""
    flops, count = image_flops(options) * options.batch, predicted(options, way)
    found: dict[str, object] = {
        "step": way.name,
        "GFLOP": count.flops / 1e9,
        "GB moved": count.bytes / 1e9,
        "H100 predicted, ms": 1000 * count.seconds,
        "img/s predicted": options.batch / count.seconds,
        "MFU predicted": flops / count.seconds / (peak_flops(H100, way.precision) or 1),
    }
    if card is None:
        return {**found, "ms": "not measured"}
    taken, memory = measured(options, way)
    median, peak = statistics.median(taken), peak_flops(card, way.precision)
    return {
        **found,
        "ms": 1000 * median,
        "ms, least": 1000 * min(taken),
        "ms, most": 1000 * max(taken),
        "img/s": options.batch / median,
        "MFU": "peak not known" if peak is None else flops / median / peak,
        "GiB at the peak": memory / 2**30,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--student", default="deit_small_patch16_224")
    parser.add_argument("--teacher", default="deit_base_patch16_224")
    parser.add_argument("--keep", type=int, default=98)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    table = pd.DataFrame([line(options, way, card) for way in WAYS])
    print(f"{options.teacher} to {options.student}, keep {options.keep}, batch {options.batch}")
    print(
        f"{card}, torch {torch.__version__}"
        if card
        else "there is no GPU here: a step of each way would be timed, and its memory measured"
    )
    print(table.to_string(index=False, float_format="%.3g"))
    if options.csv:
        table.assign(card=card or "none").to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
