"""Which code computed a run, and that a change of it is seen where it matters and only there."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from harness.code import CodeRecord, Sources
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import Experiments
from tests.launch.conftest import plainly
from tests.launch.processes import REPOSITORY, harness

OWN = '''
"""A kind of somebody's own."""
from dataclasses import dataclass
from typing import Self
from harness.errors import RunFailed
from harness.run import TASKS, Task
from own_parts.numbers import start

@TASKS.register("own")
@dataclass(frozen=True, kw_only=True, slots=True)
class Own(Task):
    """Counts."""
    seed: int

    @classmethod
    def of(cls, train) -> Self:
        return cls(seed=train.seed)

    def execute(self, context):
        if self.seed < 0:
            raise RunFailed("a negative seed")
        value = start() + self.seed  # a comment
        context.save_artifact("model.safetensors", lambda path: path.write_text(str(value)))
        return {"val/top1": float(value)}

    def needs(self, device):
        return []

    def macs(self):
        return 1.0
'''
PART = '"""Numbers."""\n\n\ndef start():\n    """The first."""\n    return 5\n'


@pytest.fixture
def own(experiments: Experiments) -> dict[str, str]:
    """A project with a plugin of two files, and the environment that finds it."""
    (experiments.root / "own_kind.py").write_text(OWN)
    (experiments.root / "own_parts").mkdir()
    (experiments.root / "own_parts" / "__init__.py").write_text("")
    (experiments.root / "own_parts" / "numbers.py").write_text(PART)
    table = plainly(pause=0.0).replace("from: counting", "from: own")
    experiments.table("tests/own", table)
    path = os.pathsep.join([str(experiments.root), str(REPOSITORY)])
    return {
        "HARNESS_PLUGINS": "own_kind",
        "PYTHONPATH": path,
        "HARNESS_CACHE": str(experiments.root / "cache"),
    }


def change(path: Path, old: str, new: str) -> None:
    """An edit, of the same length or not, some seconds after the one before: Python itself takes a
    file of the same length and second for the one that it has compiled.
    """
    text, before = path.read_text(), path.stat().st_mtime_ns
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(before + 2 * 10**9, before + 2 * 10**9))


def test_code_that_changed_is_told_and_computed_again(
    own: dict[str, str], experiments: Experiments
) -> None:
    def call(*words: str) -> str:
        said = harness(*words, **own)
        assert said.returncode == 0, said.stderr
        return said.stdout

    call("run", "tests/own")
    first = {record.name: record.result for record in Store().records()}
    assert "other code" not in call("plan", "tests/own")
    numbers = experiments.root / "own_parts" / "numbers.py"
    change(numbers, '"""The first."""', '"""The number that comes first."""  # or so')
    change(experiments.root / "own_kind.py", '"a negative seed"', '"the seed is negative"')
    assert "other code" not in call("plan", "tests/own")
    change(numbers, "return 5", "return 7")
    plan = call("plan", "tests/own")
    assert "2 cached" in plan
    assert "Computed by other code, counted all the same" in plan
    assert "2 runs: own_parts.numbers" in plan
    assert "computed by other code: own_parts.numbers" in call("status")
    told = json.loads(call("status", "--json"))
    assert [run["other_code"] for run in told["runs"]] == [["own_parts.numbers"]] * 2
    assert "Computed by other code" in call("run", "tests/own")
    assert {record.name: record.result for record in Store().records()} == first
    report = experiments.root / "reports" / "tests" / "own.paper.md"
    call("report", "tests/own", "--format", "md")
    assert "2 runs computed by other code than the present: own_parts.numbers." in (
        report.read_text().replace("\\", "")
    )
    again = call("run", "tests/own", "--recompute", "changed")
    assert "Computed by other code, computed again" in again
    assert "2 runs done" in again
    for record in Store().records():
        assert record.result is not None
        assert record.result["val/top1"] == first[record.name]["val/top1"] + 2  # type: ignore[index]
        kept = record.directory / "previous" / "0001"
        former = json.loads((kept / "result.json").read_text())
        assert former["metrics"] == first[record.name]
        assert float((kept / "model.safetensors").read_text()) == former["metrics"]["val/top1"]
    assert "other code" not in call("plan", "tests/own")
    assert "computed already" in call("run", "tests/own", "--recompute", "changed")


def test_a_lost_artifact_of_a_finished_run_is_told(
    own: dict[str, str], experiments: Experiments
) -> None:
    harness("run", "tests/own", "--rows", "a", "--seeds", "0", **own)
    (record,) = Store().records()
    before = record.result
    model = record.directory / "model.safetensors"
    model.write_text("9")  # as long as before
    assert (
        "SHA-256 differs" not in harness("plan", "tests/own", **own).stdout
    )  # it is only looked at
    model.unlink()
    plan = harness("plan", "tests/own", **own)
    assert (
        "model.safetensors is missing; compute it again with `harness run tests/own" in plan.stdout
    )
    model.write_text("9")
    words = ("run", "tests/own", "--rows", "a", "--seeds", "0", "--recompute", "damaged")
    again = harness(*words, **own)
    assert "SHA-256 differs" in again.stdout
    assert "1 run done" in again.stdout
    (record,) = Store().records()
    assert (record.result, model.read_text()) == (before, "5")


def test_libraries_count_by_release() -> None:
    code = CodeRecord(modules={}, libraries={"torch": "1.2.3+cu1"}, files={})
    (told,) = code.changed(Sources())
    assert told.startswith("torch 1.2.3+cu1 -> 2.")
    from importlib.metadata import version

    same = version("torch").partition("+")[0] + "+other"
    assert CodeRecord(modules={}, libraries={"torch": same}, files={}).changed(Sources()) == ()


def test_a_module_that_is_gone_or_changed_meanwhile_is_other_code() -> None:
    gone = CodeRecord(modules={"harness.no_such_thing": "a" * 64}, libraries={}, files={})
    assert gone.changed(Sources()) == ("harness.no_such_thing",)
    early = CodeRecord(modules={"a": "1", "b": "2"}, libraries={}, files={})
    late = CodeRecord(modules={"a": "1", "b": "3", "c": "4"}, libraries={}, files={})
    assert early.joined(late).modules == {"a": "1", "b": "changed while it ran", "c": "4"}


def test_the_code_of_a_run_is_what_its_numbers_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_HOME", str(REPOSITORY))
    runs = expand(load_table("maskedkd/table2"), "fashion-mnist").runs
    masked = next(run for run in runs if run.plain["train"]["method"]["name"] == "distillation")
    code = CodeRecord.of(masked.config)
    assert {"torch", "timm", "torchvision", "numpy", "PIL"} <= code.libraries.keys()
    assert all(code.libraries.values())
    modules = code.modules
    for name in ("train.loop", "methods.distillation", "masking", "data.sets.fashion_mnist"):
        assert f"harness.{name}" in modules
    assert "harness.models.families.vit" in modules
    for name in ("store", "cli", "report", "errors", "methods.ibot", "data.fetch", "launch"):
        assert not any(module.startswith(f"harness.{name}") for module in modules)


def test_it_costs_a_plan_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("HARNESS_HOME", str(REPOSITORY))
    run = expand(load_table("maskedkd/table2"), "fashion-mnist").runs[0]
    code = CodeRecord.of(run.config)
    started = time.process_time()
    for _ in range(200):  # runs
        assert code.changed(sources := Sources()) == ()
    assert time.process_time() - started < 200 * 0.05
    assert sources.digest("harness.train.loop", None) == code.modules["harness.train.loop"]
