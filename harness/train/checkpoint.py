"""Everything a training run needs to go on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.errors import WeightsError
from harness.methods import Objective
from harness.models.files import Unpicklable, unpickle
from harness.run import set_aside


class DamagedCheckpoint(WeightsError):
    """A checkpoint holds something else than the run wrote."""


def write_checkpoint(
    path: Path,
    *,
    step: int,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    meters: dict[str, Any],
) -> None:
    """Tensors and plain values only, so that it is read back without unpickling code."""
    torch.save(
        {
            "step": step,
            "modules": {name: module.state_dict() for name, module in objective.modules.items()},
            "objective": objective.state(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "meters": meters,
        },
        path,
    )


def read_checkpoint(
    path: Path,
    *,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[int, dict[str, Any]]:
    """Restore everything from `path`; the step to go on with, and the running means of the open log
    interval.

    Raises WeightsError where it cannot be read, which may pass, and DamagedCheckpoint where it
    holds something else than this run wrote: nothing but
    tensors and plain values is ever unpickled.
    """
    with reading(path) as state:
        for name, module in objective.modules.items():
            module.load_state_dict(state["modules"][name])
        objective.load_state(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        return int(state["step"]), dict(state["meters"])


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """What a checkpoint holds; DamagedCheckpoint where what is done with it inside cannot be.

    What the machine is at fault for passes through: memory, a device, a disk.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot read the checkpoint: {error.strerror}") from error
    try:
        yield unpickle(content)
    except Exception as error:
        if not _is_damage(error):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if isinstance(error, Unpicklable) and error.named is not None:
            reason = f"it holds {error.named} beside tensors, and was not unpickled"
        raise DamagedCheckpoint(f"{path}: not a whole checkpoint of this run ({reason})") from error


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault: a damaged or foreign one. Devices that fail or are out of
    memory raise RuntimeError, too.
    """
    text = str(error)
    if isinstance(error, Unpicklable):
        return "can't allocate memory" not in text
    if isinstance(error, RuntimeError):  # by name and shape; a failed copy is the device's
        return "loading state_dict" in text and "an exception occurred" not in text
    return isinstance(error, (LookupError, ValueError, TypeError, AttributeError, AssertionError))


def starting_over(path: Path) -> str:
    """Set a damaged checkpoint aside; what to say of it."""
    try:
        aside = set_aside(path)
    except OSError as error:
        return f"remove it to start over (moving it away failed: {error.strerror})"
    return f"it was moved to {aside.name}: run again, and the run starts over"
