"""Tables for a cluster, and what became of their runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.conftest import TINY_VIT, Experiments
from tests.launch.conftest import TABLE
from tests.launch.counting import expected
from tests.launch.processes import harness, metrics

STEPS = 12
TRAINING = f"""
paper: {{{{title: Training on a cluster}}}}
columns:
  acc: {{{{label: Top-1, from: train, metric: val/top1, unit: "%", decimals: 1}}}}
seeds: [0]
base:
  data: {{{{name: fashion-mnist, train_fraction: 0.02}}}}
  student: {{{{{TINY_VIT}}}}}
  method: supervised
  recipe: {{{{epochs: {{epochs}}, batch_size: 64, lr: {{lr}}}}}}
rows:
  - {{{{id: teacher, label: Teacher}}}}
  - id: student
    label: Student
    set:
      recipe: {{{{lr: 1e-3}}}}
      teacher: {{{{{TINY_VIT}, weights: {{{{run: "#teacher"}}}}}}}}
      method: {{{{name: distillation, loss: logit}}}}
profiles:
  paper: {{{{resources: {{{{device: cpu, threads: 1, checkpoint_seconds: 2}}}}}}}}
"""


def slow_run(experiments: Experiments, *, pause: float = 0.5) -> str:
    """A table of one run with `STEPS` steps, each of which takes `pause` seconds."""
    return counting_runs(experiments, rows=["a"], seeds=[1], pause=pause)


def counting_runs(
    experiments: Experiments,
    *,
    rows: list[str],
    seeds: list[int],
    pause: float,
    column: str = "value",
) -> str:
    """A table with one column of the counting kinds: `value`, `batch` (many a job), `alone` or
    `together` (two processes).
    """
    more = "  together: {label: Two, from: counting-together, metric: count/value, decimals: 0}"
    text = TABLE.replace("seeds:", more.replace("{", "{{").replace("}", "}}") + "\nseeds:")
    text = text.format(pause=pause, more="").replace("[0, 1]", str(seeds))
    head, _, tail = text.partition("rows:\n")
    head = "\n".join(
        line
        for line in head.splitlines()
        if "from: counting" not in line or line.startswith(f"  {column}:")
    )
    lines = [
        f"  - {{id: {row}, label: {row}, set: {{recipe: {{epochs: {STEPS + number}}}}}}}"
        for number, row in enumerate(rows)
    ]
    profiles = tail[tail.index("profiles:") :]
    return experiments.table("tests/slurm", "\n".join([head, "rows:", *lines, profiles]))


def status(*words: str) -> dict[str, dict[str, Any]]:
    """The runs of `harness status --json`, by name."""
    done = harness("status", *words, "--json")
    return {run["name"]: run for run in json.loads(done.stdout)["runs"]}


def only() -> Path:
    """The only run directory."""
    (directory,) = Path("results/runs").iterdir()
    return directory


def first() -> Path:
    """One of the run directories."""
    return min(Path("results/runs").iterdir())


def job_of(directory: Path) -> str:
    """The number of the job that is responsible for a run."""
    return str(status()[directory.name]["job"])


def member(directory: Path) -> int:
    """The number of the second process of a run, as its log tells it."""
    return int(
        re.findall(r"process 1 of 2: .*, pid (\d+)", (directory / "log.txt").read_text())[-1]
    )


def has_result(directory: Path) -> bool:
    """Whether an attempt has written the result."""
    return (directory / "result.json").exists()


def finished(directory: Path) -> bool:
    """Whether an attempt has written the result, and ended."""
    return has_result(directory) and "done" in outcomes(directory)


def undisturbed(directory: Path, *, steps: int = STEPS, seed: int = 1) -> bool:
    """Whether a counting run gave, once, what it gives when nothing happens to it."""
    return metrics(directory) == expected(steps, seed) and outcomes(directory).count("done") == 1


def outcomes(directory: Path) -> list[str | None]:
    """How the attempts of a run ended; None: without a word."""
    paths = sorted((directory / "attempts").glob("0*.json"))
    return [json.loads(path.read_text()).get("outcome") for path in paths]
