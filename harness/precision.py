"""In which numbers a training computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from harness.errors import RunFailed
from harness.lazy import torch


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """For forward passes: bf16 and fp16 where they are safe."""
    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if precision not in dtypes:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtypes[precision])


def choose_attention(network: torch.nn.Module, precision: str, device: torch.device) -> None:
    """How timm's blocks in `network` attend when they compute in `precision` on `device`.

    Fused, as timm does by itself; in bf16 on a CPU by two products and a softmax, which take 0.3
    to 0.5 of the time forward and backward (torch 2.15, AVX512_BF16, 37 to 197 tokens).
    """
    if device.type == "cpu" and precision == "bf16":
        modules: Iterator[Any] = network.modules()
        for module in modules:
            if hasattr(module, "fused_attn"):
                module.fused_attn = False


@contextmanager
def float32_products(precision: str, device: torch.device) -> Iterator[None]:
    """While something runs: whether products of fp32 numbers on a GPU may round them to TF32.

    fp32 means fp32, in convolutions too, where PyTorch itself would use TF32. RunFailed for tf32
    where there is no GPU: nothing there rounds like that.
    """
    if device.type != "cuda":
        if precision == "tf32":
            raise RunFailed("precision tf32 is of NVIDIA GPUs: on a CPU say precision fp32")
        yield
        return
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
