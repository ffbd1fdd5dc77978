"""Options that `plan`, `run` and `status` share."""

from __future__ import annotations

import argparse
import dataclasses

from harness.device import default_jobs, resolve_device
from harness.errors import FieldError, HarnessError
from harness.plan import Plan, Recompute, make_plan
from harness.run import Resources
from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table
from harness.store import Store


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which part of a table."""
    parser.add_argument(
        "--profile", metavar="P", help="the scale (default: cpu where there is one)"
    )
    parser.add_argument(
        "--rows", metavar="GLOB", help="only rows whose id matches; several: comma-separated"
    )
    parser.add_argument(
        "--seeds", metavar="0,1,2", type=_seeds, help="these seeds instead of the profile's"
    )
    parser.add_argument(
        "--kinds",
        metavar="K",
        type=lambda text: tuple(text.split(",")),
        help="only runs of these kinds (train, flops, ...), and what they need; comma-separated",
    )


def add_resources(parser: argparse.ArgumentParser) -> None:
    """Where it is computed."""
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=_at_least_one,
        help="runs at once (default: cores / threads)",
    )
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--threads", metavar="N", type=_at_least_one, help="CPU threads of a run")
    parser.add_argument(
        "--workers", metavar="N", type=_number, help="processes that decode images, for each run"
    )
    parser.add_argument(
        "--processes",
        metavar="N",
        type=_at_least_one,
        help="that train one model together, each with a GPU of its own where there are",
    )
    parser.add_argument(
        "--nodes",
        metavar="N",
        type=_at_least_one,
        help="for slurm: on so many nodes (default: as few as have room)",
    )
    parser.add_argument(
        "--micro-batch",
        metavar="N",
        type=_at_least_one,
        help="images per forward pass, where the batch does not fit (gradients are accumulated)",
    )


def expansion_of(arguments: argparse.Namespace) -> Expansion:
    """The table, profile, rows and seeds of the command line, expanded."""
    table = load_table(arguments.table)
    profile = arguments.profile or table.default_profile
    return expand(table, profile, rows=arguments.rows, seeds=arguments.seeds, kinds=arguments.kinds)


def resources_of(arguments: argparse.Namespace, expansion: Expansion) -> Resources:
    """The profile's resources, changed by the command line."""
    names = ("device", "threads", "workers", "processes", "nodes", "micro_batch")
    given = {name: getattr(arguments, name) for name in names}
    chosen = {name: value for name, value in given.items() if value is not None}
    if "processes" in chosen:  # the profile's nodes are for the profile's number
        chosen.setdefault("nodes", None)
    try:
        return dataclasses.replace(expansion.profile.resources, **chosen)
    except FieldError as error:
        raise HarnessError(f"--{error.field.replace('_', '-')} {error}") from None


def plan_of(
    arguments: argparse.Namespace,
    expansion: Expansion,
    store: Store,
    resources: Resources,
    *,
    recompute: Recompute | None = None,
) -> Plan:
    """The plan for this machine."""
    device = resolve_device(resources.device)
    jobs = arguments.jobs or default_jobs(device, resources.threads, resources.processes)
    return make_plan(expansion, store, device=device, jobs=jobs, recompute=recompute)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"give whole numbers, 0,1,2; got '{text}'") from None
    if min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"seeds must not be negative, got '{text}'")
    return seeds


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number of at least 1, got '{text}'")
    return int(text)


def _number(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"give a whole number, 0 for none; got '{text}'")
    return int(text)
