"""CPU seconds of what a process pays before it does anything, at one or more commits.

    python benchmarks/start_up.py [COMMIT ...] [--repeats 3] [--csv FILE]

Without a commit: the files as they are. The first lines are what a training cannot do without:
torch with one step of AdamW, which imports its compiler, and timm, which imports torchvision. Each
number is the smallest of the repeats, in which the commits take turns. The trainings are those of
`maskedkd/table2`, row `deit_ti.none`, at the smoke profile, each into a results folder of its own.
CPU seconds, so that other work does not count.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ("run", "maskedkd/table2", "--profile", "smoke", "--rows", "deit_ti.none", "--jobs", "1")
STEP = (
    "import torch; p = torch.nn.Parameter(torch.zeros(1)); o = torch.optim.AdamW([p]); "
    "p.sum().backward(); o.step()"
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "torch, a step": ("-c", STEP),
    "torch, a step, timm": ("-c", f"{STEP}; import timm"),
    "harness --help": ("--help",),
    "harness list": ("list",),
    "harness status": ("status",),
    "harness plan, Table 2": ("plan", "maskedkd/table2", "--profile", "fashion-mnist"),
    "1 training": (*TRAIN, "--seeds", "0"),
    "6 trainings": (*TRAIN, "--seeds", "0,1,2,3,4,5"),
    "4 costs of Table 2": (
        *("run", "maskedkd/table2", "--profile", "fashion-mnist"),
        *("--tasks", "cost", "--jobs", "1"),
    ),
}


def cpu_seconds(checkout: Path, compiled: Path, words: tuple[str, ...]) -> float:
    """Of `harness WORDS`, or Python's `-c CODE`, and all that it starts, with the code in
    `checkout`.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": str(checkout),
            "HARNESS_HOME": str(checkout),
            "HARNESS_RESULTS": f"{folder}/results",
            "PYTHONPYCACHEPREFIX": str(compiled),  # as an installed copy: compiled once
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        places = {commit: checkout(commit, Path(temporary)) for commit in arguments.commits}
        places = places or {"as it is": ROOT}
        compiled = Path(temporary) / "compiled"
        print(f"CPU seconds on {platform.processor() or platform.machine()}, {platform.node()}")
        lines = [",".join(["CPU seconds", *places])]
        print(f"{'':24}" + "".join(f"{name[:12]:>14}" for name in places))
        for what, words in COMMANDS.items():
            least = dict.fromkeys(places, float("inf"))
            for _ in range(arguments.repeats):
                for name, place in places.items():
                    least[name] = min(least[name], cpu_seconds(place, compiled, words))
            print(f"{what:24}" + "".join(f"{least[name]:14.2f}" for name in places), flush=True)
            lines.append(",".join([f'"{what}"', *(f"{least[name]:.2f}" for name in places)]))
        if arguments.csv:
            arguments.csv.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
