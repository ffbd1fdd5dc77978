"""Options that `plan`, `run` and `status` share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from typing import cast

from harness.api import ResourceOptions, Selection
from harness.errors import HarnessError, SpecError
from harness.spec.read import LARGEST_SEED, MOST_SEEDS
from harness.text import count

RESOURCES = ("jobs", *ResourceOptions.__annotations__)
"""Options that say by what a table is computed."""


def add_table(parser: argparse.ArgumentParser) -> None:
    """Which table."""
    parser.add_argument("table", metavar="TABLE", help="maskedkd/table2, or the path of a spec")


def add_profile(parser: argparse.ArgumentParser) -> None:
    """At which scale."""
    parser.add_argument(
        "--profile",
        metavar="P",
        help="the scale (default: fashion-mnist, else paper, else the table's first)",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Which part of a table."""
    add_profile(parser)
    parser.add_argument(
        "--rows", metavar="GLOB", help="only rows whose id matches; several: comma-separated"
    )
    parser.add_argument(
        "--seeds", metavar="0,1,2|0-9", type=_seeds, help="these seeds instead of the profile's"
    )
    parser.add_argument(
        "--tasks",
        metavar="T",
        type=lambda text: tuple(text.split(",")),
        help="only runs of these tasks (train, cost, ...), and what they need; comma-separated",
    )
    parser.add_argument("--kinds", type=_renamed("--tasks"), help=argparse.SUPPRESS)


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
        help="processes that train one model together, each on a GPU of its own if there are GPUs",
    )
    parser.add_argument(
        "--nodes",
        metavar="N",
        type=_at_least_one,
        help="for slurm: nodes of a job (default: as few as have room)",
    )
    parser.add_argument(
        "--micro-batch",
        metavar="N",
        type=_at_least_one,
        help="images per forward pass, where a batch does not fit into memory (gradients are "
        "accumulated)",
    )
    parser.add_argument(
        "--pipeline",
        metavar="N",
        type=_at_least_one,
        help="cut each step into N parts; half of the --processes compute the teacher, while "
        "the others compute the student",
    )


def selection(arguments: argparse.Namespace) -> Selection:
    """The part of a table that the command line names."""
    return {"rows": arguments.rows, "seeds": arguments.seeds, "tasks": arguments.tasks}


def resources(arguments: argparse.Namespace) -> ResourceOptions:
    """What the command line says of them; the profile says the rest."""
    options = {name: getattr(arguments, name) for name in ResourceOptions.__annotations__}
    return cast(
        ResourceOptions, {name: value for name, value in options.items() if value is not None}
    )


def as_words(arguments: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """These options as they are typed, of those that were given."""
    words = []
    for name in names:
        value = getattr(arguments, name)
        if value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return words


def in_short(error: HarnessError, table: str) -> str:
    """What is wrong with a table, in one line, where others stand beside it."""
    if isinstance(error, SpecError):
        return f"{count(len(error.problems), 'problem')}: run `harness check {table}`"
    return str(error).splitlines()[0]


def _renamed(new: str) -> Callable[[str], str]:
    def refuse(text: str) -> str:
        raise argparse.ArgumentTypeError(f"is now called {new}")

    return refuse


def _seeds(text: str) -> tuple[int, ...]:
    """Numbers and ranges, no seed twice: `0,1,2`, `0-9`, `0-4,7`."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,99})\s*(?:-\s*([0-9]{1,99})\s*)?", part)
        if match is None:
            what = f"give whole numbers from 0 up, 0,1,2, or a range, 0-9; got '{text}'"
            raise argparse.ArgumentTypeError(what)
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise argparse.ArgumentTypeError(f"a range goes up: {last}-{first}, not {part.strip()}")
        if last > LARGEST_SEED:
            raise argparse.ArgumentTypeError(f"a seed is at most {LARGEST_SEED}, got {last}")
        if len(seeds) + last - first >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"give at most {MOST_SEEDS} seeds, got '{text}'")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise argparse.ArgumentTypeError(f"seed {twice} is given twice in '{text}'")
    return tuple(seeds)


def _at_least_one(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number of at least 1, got '{text[:40]}'")
    return int(text)


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"give a whole number, 0 for none; got '{text[:40]}'")
    return int(text)
