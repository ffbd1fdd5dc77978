"""Whether the runs of a plan can be computed by as many processes as were asked for."""

from __future__ import annotations

from harness.device import resolve_device, visible_gpus
from harness.errors import HarnessError
from harness.plan import TO_RUN, Plan
from harness.run import Resources
from harness.text import count


def check_divisible(plan: Plan, resources: Resources) -> None:
    """HarnessError that names rows which so many processes cannot compute, and how many can."""
    asked = resources.processes
    rows: dict[tuple[str, int], dict[str, None]] = {}
    for planned in plan.runs:
        config = planned.run.config
        why = config.why_not_divisible(asked) if planned.status in TO_RUN else None
        if why is not None:
            fewer = next(n for n in range(asked - 1, 0, -1) if config.why_not_divisible(n) is None)
            rows.setdefault((why, fewer), {})[planned.run.title.row] = None
    for (why, fewer), names in rows.items():
        listed = ",".join(names)
        raise HarnessError(
            f"`processes` is {asked}, and {count(len(names), 'row')} cannot be computed by so "
            f"many: {why} ({listed}). Run these with --rows '{listed}' --processes {fewer}, "
            "and name the others with --rows for more"
        )


def check_gpus(resources: Resources) -> None:
    """HarnessError where this machine has fewer GPUs than the processes of a run."""
    wanted, found = resources.processes, len(visible_gpus())
    if wanted > 1 and resolve_device(resources.device) == "cuda" and found < wanted:
        raise HarnessError(
            f"`processes` is {wanted}, each with a GPU of its own, and this machine shows {found}: "
            f"give --processes {max(found, 1)}, make more visible (CUDA_VISIBLE_DEVICES), or run "
            "with --device cpu"
        )
