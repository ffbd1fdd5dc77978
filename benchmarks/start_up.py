"""CPU seconds of what a process pays before it does anything, at one or more commits.

    python benchmarks/start_up.py [COMMIT ...] [--turns 3] [--csv FILE]

Without a commit: the files as they are. The first lines are what a training cannot do without:
torch with one step of AdamW, which imports torch's compiler, and timm, which imports torchvision,
which imports it too. Each number is the min, median and max of the repeats, in which the commits
take turns. The trainings are those of `maskedkd/table2`, row `deit_ti.none`, at the smoke profile,
each into a results folder of its own. CPU seconds, so that waiting does not count; other work on
the same cores makes them more.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

import pandas as pd
from options import show_turns, spread

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ("run", "maskedkd/table2", "--profile", "smoke", "--rows", "deit_ti.none", "--jobs", "1")
STEP = (
    "import torch; p = torch.nn.Parameter(torch.zeros(1)); o = torch.optim.AdamW([p]); "
    "p.sum().backward(); o.step()"
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "torch": ("-c", "import torch"),
    "torch, a step": ("-c", STEP),
    "torch, a step, timm": ("-c", f"{STEP}; import timm"),
    "harness --help": ("--help",),
    "harness list": ("list",),
    "harness status": ("status",),
    "harness check": ("check",),
    "harness show, Table 2": ("show", "maskedkd/table2"),
    "harness plan, Table 2": ("plan", "maskedkd/table2", "--profile", "fashion-mnist"),
    "1 training": (*TRAIN, "--seeds", "0"),
    "6 trainings": (*TRAIN, "--seeds", "0,1,2,3,4,5"),
    "4 costs of Table 2": (
        *("run", "maskedkd/table2", "--profile", "fashion-mnist"),
        *("--tasks", "cost", "--jobs", "1"),
    ),
}


def cpu_seconds(checkout: Path, words: tuple[str, ...]) -> float:
    """Of `harness WORDS`, or Python's `-c CODE`, and all that it starts, with the code in
    `checkout`.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "HARNESS_HOME": str(checkout),
            "HARNESS_RESULTS": f"{folder}/results",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as an installed copy: compiled once
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        program = () if words[0] == "-c" else ("-m", "harness")
        subprocess.run(
            [sys.executable, *program, *words],
            check=True,
            capture_output=True,
            cwd=folder,
            env=environment,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit, in a folder of its own."""
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True
    )
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder / commit, filter="data")
    return folder / commit


def main() -> None:
    """Print a line for each thing that is measured, and a column for each commit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commits", nargs="*", metavar="COMMIT")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as temporary:
        places = {commit: checkout(commit, Path(temporary)) for commit in arguments.commits}
        places = places or {"CPU s": ROOT}
        for what, words in COMMANDS.items():
            taken: dict[str, list[float]] = {name: [] for name in places}
            for turn in range(arguments.turns + 1):
                for name, place in places.items():
                    seconds = cpu_seconds(place, words)
                    if turn > 0:  # before, it was compiled
                        taken[name].append(seconds)
            lines.append({"what": what, **{name: spread(found) for name, found in taken.items()}})
    show_turns(pd.DataFrame(lines), arguments.turns, arguments.csv)


if __name__ == "__main__":
    main()
