"""How long ten thousand finished runs take to be planned, shown and reported: CPU seconds.

    python benchmarks/many_runs.py [--runs 10000] [--seeds 100] [--lines 300] [--keep FOLDER]
                                   [--turns 3] [--csv FILE]

Meant, on one core: the CSV report under 6 s, all formats under 15 s. Each command is a process of
its own; they take turns. CPU seconds, so that waiting does not count; other work on the same cores
makes them more. The store is made up, with run directories as a worker leaves them: 300 lines of
metrics, environment, result with the code that computed it, and which of 10,000 images were right.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from options import show_turns, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.code import CodeRecord
from harness.evaluate.right import RIGHT, write_right
from harness.spec.expand import Run, expand
from harness.spec.load import load_table
from harness.store import Store
from harness.store.lease import Owner
from harness.store.result import Artifact
from tests.conftest import TINY_VIT, Experiments

RATES = 10
IMAGES = 10_000
EVALUATIONS = 10
TABLE = f"""
paper: {{{{title: Many runs}}}}
columns:
  acc: {{{{label: Top-1, from: train, metric: val/top1, unit: "%", decimals: 1, better: higher}}}}
seeds: [{{seeds}}]
base:
  data: {{{{name: fashion-mnist}}}}
  student: {{{{{TINY_VIT}}}}}
  teacher: {{{{{TINY_VIT}}}}}
  method: {{{{name: distillation, mask: {{{{keep: 8}}}}}}}}
  recipe: {{{{epochs: 10, batch_size: 64, lr: 1e-3}}}}
rows:
  - id: "r{{{{lr}}}}.{{{{weight_decay}}}}"
    label: "{{{{lr}}}} {{{{weight_decay}}}}"
    grid: {{{{recipe.lr: [{{rates}}], recipe.weight_decay: [{{decays}}]}}}}
claims:
  - {{{{id: higher, text: The last is better, holds: "acc[{{last}}] > acc[{{first}}]"}}}}
profiles:
  paper: {{{{}}}}
"""


def table_of(experiments: Experiments, runs: int, seeds: int) -> str:
    """A table of so many runs."""
    rates = [f"{1e-4 * (1 + index / 100):.6f}" for index in range(RATES)]
    decays = [f"{0.01 * (1 + index / 10):.3f}" for index in range(runs // RATES // seeds)]
    text = TABLE.format(
        seeds=", ".join(map(str, range(seeds))),
        rates=", ".join(rates),
        decays=", ".join(decays),
        first=f"r{rates[0]}.{decays[0]}",
        last=f"r{rates[-1]}.{decays[-1]}",
    )
    return experiments.table("tests/many", text)


def fill(table: str, lines: int) -> None:
    """A store in which every run of the table is done."""
    store = Store()
    expansion = expand(load_table(table), "paper")
    store.create(expansion.runs[0])
    about = json.loads((store.runs / expansion.runs[0].name / "run.json").read_text())
    code = CodeRecord.of(expansion.runs[0].config).plain()
    packages = {f"package-{index}": "1.0.0" for index in range(70)}
    environment = json.dumps(
        {
            "harness": "0.1.0",
            "commit": "0" * 40,
            "dirty": None,
            "python": "3.11.7",
            "platform": "Linux",
            "host": "node",
            "cpu": "A CPU",
            "cores": 2,
            "threads": 1,
            "gpus": [],
            "torch": {"version": "2.0", "capability": "AVX2"},
            "packages": {**packages, "torch": "2.0", "timm": "1.0"},
        },
        indent=2,
    )
    owner = asdict(Owner.here())
    for index, run in enumerate(expansion.runs):
        rng = np.random.default_rng(index)
        directory = store.runs / run.name
        (directory / "attempts").mkdir(parents=True, exist_ok=True)
        title = {**about["title"], "row": run.title.row, "seed": run.title.seed}
        content = {**about, "identity": run.identity, "title": title, "config": run.plain}
        (directory / "run.json").write_text(json.dumps(content, indent=2))
        (directory / "environment.json").write_text(environment)
        attempt = {"attempt": 1, "owner": owner, "ended": "now", "outcome": "done"}
        (directory / "attempts" / "0001.json").write_text(json.dumps(attempt))
        (directory / "state.json").write_text(json.dumps({"state": "done", "attempt": 1}))
        bits = rng.random(IMAGES) < 0.9 + 0.0002 * (index % 50)
        write_right(directory / RIGHT, {"val/top1": bits})
        top1 = 100 * float(bits.mean())
        (directory / "metrics.jsonl").write_text(metrics(run, rng, lines, top1))
        result = {
            "metrics": {"val/top1": top1},
            "seconds": 9.0,
            "attempt": 1,
            "device": "cpu",
            "finished": "2025-01-01T00:00:00+00:00",
            "artifacts": {RIGHT: asdict(Artifact.of(directory / RIGHT))},
            "code": code,
        }
        (directory / "result.json").write_text(json.dumps(result, indent=2))


def metrics(run: Run, rng: np.random.Generator, lines: int, top1: float) -> str:
    """The text of `metrics.jsonl`: a training with ten evaluations."""
    epochs = np.arange(1, lines + 1) / lines * 10
    loss = 1 + np.exp(-epochs) + 0.1 * rng.random(lines)
    every = lines // EVALUATIONS
    parts = []
    for step in range(1, lines + 1):
        about = f'{{"step": {step}, "epoch": {epochs[step - 1]!s}, "images": {64 * step}'
        if step % every == 0:
            now = top1 if step == lines else top1 - 50 * float(np.exp(-epochs[step - 1]))
            parts.append(f'{about}, "val/top1": {now}, "val/loss": {loss[step - 1]!s}}}')
        else:
            value = float(loss[step - 1])
            terms = f'"loss/total": {value}, "loss/ce": {value / 2}, "loss/distill": {value / 3}'
            parts.append(f'{about}, "lr": {1e-3 * (1 - step / lines)}, {terms}}}')
    return "\n".join(parts) + "\n"


def harness(*words: str) -> float:
    """Run `harness WORDS`: its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "harness", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(table: str) -> dict[str, tuple[str, ...]]:
    """What is measured."""
    report = ("report", table, "--profile", "paper", "--format")
    return {
        "list": ("list",),
        "status": ("status", table),
        "plan": ("plan", table, "--profile", "paper"),
        "report, csv": (*report, "csv"),
        "report, md": (*report, "md"),
        "report, all formats": (*report, "csv,md,html,tex,pdf"),
    }


def main() -> None:
    """Print a line a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=100, help="of each row")
    parser.add_argument("--lines", type=int, default=300, help="of metrics, for each run")
    parser.add_argument("--keep", type=Path, help="make the store here, or use what is here")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = str(options.keep.resolve() if options.keep else temporary)
        os.environ |= {"HARNESS_HOME": home, "HARNESS_RESULTS": f"{home}/results"}
        os.environ["OMP_NUM_THREADS"] = "1"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as an installed copy: compiled once
        few = Experiments(Path(temporary) / "few")
        compiled = {**os.environ, "HARNESS_HOME": f"{temporary}/few"}
        compiled["HARNESS_RESULTS"] = f"{temporary}/few/results"
        for words in commands(table_of(few, RATES, 1)).values():  # so that each is compiled
            line = [sys.executable, "-m", "harness", *words]
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=compiled)
        table = table_of(Experiments(Path(home)), options.runs, options.seeds)
        if not Store().runs.exists():
            fill(table, options.lines)
        seconds: dict[str, list[float]] = {}
        for _ in range(options.turns):
            for what, words in commands(table).items():
                seconds.setdefault(what, []).append(harness(*words))
    lines = [{"command": what, "CPU s": spread(taken)} for what, taken in seconds.items()]
    print(f"{options.runs:,} runs, {options.lines} lines of metrics each")
    show_turns(pd.DataFrame(lines), options.turns, options.csv)


if __name__ == "__main__":
    main()
