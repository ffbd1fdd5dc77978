"""Ten thousand runs are planned (meant: 3 s) and shown (5 s) without torch.

The bounds are far above, because neighbours on a core cost CPU time too: they catch only work
that grows faster than the number of runs.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import DONE, Store
from tests.conftest import TINY_VIT, Experiments

RATES = ", ".join(f"{1e-4 * (1 + index / 100):.6f}" for index in range(100))
DECAYS = ", ".join(f"{0.01 * (1 + index / 10):.3f}" for index in range(20))
TABLE = f"""
paper: {{title: Large}}
columns:
  acc: {{label: Top-1, from: train, metric: val/top1, unit: "%"}}
seeds: [0, 1, 2, 3, 4]
base:
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
  teacher: {{{TINY_VIT}}}
  method: {{name: distillation, mask: {{keep: 8}}}}
  recipe: {{epochs: 1, batch_size: 64, lr: 1e-3}}
rows:
  - id: "r{{lr}}.{{weight_decay}}"
    label: "{{lr}} {{weight_decay}}"
    grid: {{recipe.lr: [{RATES}], recipe.weight_decay: [{DECAYS}]}}
profiles:
  paper: {{}}
"""


PLANNED, SHOWN = 8.0, 10.0


def cpu_seconds(*arguments: str) -> tuple[float, str]:
    """CPU time and output of a command: wall time would measure what else runs on the machine."""
    code = (
        "import sys; from harness.cli import main; main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, done.stdout


def fill(table: str) -> None:
    """A store with all runs of the table: 8 in 10 done, the rest failed or without a live owner."""
    store = Store()
    expansion = expand(load_table(table), "paper")
    store.create(expansion.runs[0])
    about = json.loads((store.runs / expansion.runs[0].name / "run.json").read_text())
    result: dict[str, object] = {
        "metrics": {"val/top1": 90.0},
        "seconds": 9.0,
        "attempt": 1,
        "device": "cpu",
    }
    result["finished"] = "2025-01-01T00:00:00+00:00"
    for index, run in enumerate(expansion.runs):
        directory = store.runs / run.name
        directory.mkdir(exist_ok=True)
        title = {**about["title"], "row": run.title.row, "seed": run.title.seed}
        content = {**about, "identity": run.identity, "title": title, "config": run.plain}
        (directory / "run.json").write_text(json.dumps(content))
        if index % 10 < 8:
            (directory / "result.json").write_text(json.dumps(result))
        else:
            (directory / "attempts").mkdir()
            (directory / "attempts" / "0001.json").write_text("{}")
            os.utime(directory / "attempts" / "0001.json", (1, 1))
        state = DONE if index % 10 < 8 else "failed" if index % 10 == 8 else "running"
        (directory / "state.json").write_text(json.dumps({"state": state, "attempt": 1}))


def test_ten_thousand_runs(experiments: Experiments) -> None:
    table = experiments.table("tests/large", TABLE)
    used, said = cpu_seconds("plan", table)
    assert "10000 runs (10000 todo)" in said or "10000 blocked" in said
    assert used < PLANNED
    fill(table)
    used, said = cpu_seconds("plan", table, "--json")
    counts = json.loads(said)["counts"]
    assert counts["cached"] == 8000
    assert used < PLANNED
    used, said = cpu_seconds("status", table)
    assert "10000 runs (1000 interrupted, 8000 done, 1000 failed)" in said
    assert used < SHOWN
