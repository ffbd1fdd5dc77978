"""Transformer blocks compiled by torch, each a function of its own, for long runs on a GPU.

What lies between the products of matrices (norms, activations, residuals) is then one kernel, which
rounds otherwise: `recipe.compile` is part of a run's identity. Random draws stay those of the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from harness.errors import RunFailed
from harness.models.layers import StochasticDepth
from harness.models.vit import VisionTransformer

BACKEND = "inductor"
MOST_SHAPES = 16
"""That blocks are compiled for: global and local views, student and teacher, and a last micro-batch
of another size make a dozen."""
_LIMIT_HIT = ("FailOnRecompileLimitHit", "FailOnCacheLimitHit")  # the latter in torch 2.6


def compile_blocks(
    networks: Iterable[VisionTransformer], device: torch.device, backend: str = BACKEND
) -> None:
    """Compile the blocks of `networks`, in place; each shape of images is compiled when it comes.

    All blocks of a network share what is compiled. RunFailed where nothing can be compiled.
    """
    why = why_not_compilable(device, backend)
    if why is not None:
        raise RunFailed(
            f"recipe.compile is `blocks`, but torch cannot compile on this machine ({why}): "
            "install what is missing, or say `compile: none`"
        )
    for network in networks:
        for module in network.modules():
            if isinstance(module, StochasticDepth):  # a compiled draw would be another one
                leave_out: Any = torch.compiler.disable
                module.draw = leave_out(module.draw)  # type: ignore[method-assign]
        for block in network.vit.blocks:
            block.compile(dynamic=False, backend=backend)


@contextmanager
def compiling(compiled: bool) -> Iterator[None]:
    """A run with compiled blocks. RunFailed where they are given too many shapes: torch by itself
    would leave some uncompiled, without a word.
    """
    if not compiled:
        yield
        return
    import torch._dynamo  # not above: it takes a second

    # names that torch 2.6 knows, too
    limits = torch._dynamo.config.patch(cache_size_limit=MOST_SHAPES, fail_on_cache_limit_hit=True)
    try:
        with limits:
            yield
    except Exception as error:
        if type(error).__name__ not in _LIMIT_HIT:
            raise
        raise RunFailed(
            f"recipe.compile is `blocks`, and they meet more than {MOST_SHAPES} shapes, each of "
            "which takes its time to compile: say `compile: none`"
        ) from error
    finally:
        torch._dynamo.reset()  # the next run in this process has shapes of its own


def why_not_compilable(device: torch.device, backend: str = BACKEND) -> str | None:
    """What the smallest function fails with; None where it can be compiled."""

    def one_more(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    try:
        torch.compile(one_more, backend=backend)(torch.zeros(2, device=device))
    except Exception as error:  # whatever compilers and their finders raise
        return str(error).strip().split("\n")[0]
    return None


def as_written(compiled: bool) -> AbstractContextManager[object]:
    """Inside, nothing is compiled: evaluations give the numbers that they give elsewhere."""
    if not compiled:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
