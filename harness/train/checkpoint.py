"""Everything a training run needs to go on as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from harness.errors import WeightsError
from harness.methods import Objective


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
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in objective.modules.items():
            module.load_state_dict(state["modules"][name])
        objective.load_state(state["objective"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        return int(state["step"]), dict(state["meters"])
    except (RuntimeError, KeyError, ValueError, EOFError, OSError) as error:
        raise WeightsError(
            f"{path}: not a whole checkpoint of this run ({error}); remove it to start over"
        ) from error
