"""Cluster files: the example of docs/cluster.md, damaged."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import tests.launch.counting  # noqa: F401 (a kind that needs no data)
from harness.cli import main
from harness.launch.cluster import load_cluster
from tests.conftest import LIGHT_RECIPE, TINY_VIT, Experiments
from tests.fuzz.driver import Case
from tests.fuzz.mutate import damaged, rewritten
from tests.launch.processes import REPOSITORY

TABLE = f"""
paper: {{title: Few}}
columns: {{value: {{from: counting, metric: count/value}}}}
base:
  data: fashion-mnist
  student: {{{TINY_VIT}}}
  method: supervised
  recipe: light
rows: [{{id: a}}]
profiles:
  paper: {{resources: {{device: cpu, threads: 1}}}}
"""


def example() -> str:
    """The first YAML of the page: the whole file of a cluster."""
    page = (REPOSITORY / "docs" / "cluster.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(node:.*?)```", page, re.S)
    assert found is not None
    return found[1]


def cases(draws: random.Random, folder: Path, count: int) -> Iterator[Case]:
    """Three in four rewritten as text, the others damaged as bytes."""
    os.environ |= {"HARNESS_HOME": str(folder), "HARNESS_RESULTS": str(folder / "results")}
    project = Experiments(folder)
    project.recipe("light", LIGHT_RECIPE)
    table = project.table("tests/few", TABLE)
    text, path = example(), folder / "cluster.yaml"
    for number in range(count):
        content = rewritten(text, draws).encode("utf-8", "surrogatepass")
        if number % 4 == 3:
            content = damaged(text.encode(), draws)
        path.write_bytes(content)
        yield repr(content[:60]), lambda: _submit(path, table)


def _submit(path: Path, table: str) -> None:
    """Load it, and print the scripts that it makes, which submits nothing."""
    load_cluster(path)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(["run", table, "--executor", "slurm", "--dry-run", "--cluster", str(path)])
    assert code == 1 or "#SBATCH" in said.getvalue(), said.getvalue()
