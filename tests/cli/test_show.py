"""`harness show`: where each value of a row is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.cli import main
from tests.conftest import Experiments
from tests.spec.specs import GOOD


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """What stands behind each `key: value` line."""
    assert main(["show", *arguments]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "  # " in line]
    return {key.strip(): where for key, where in (line.split("  # ") for line in lines)}


def test_each_value_has_its_file_and_line(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    table = experiments.table("paper/good", GOOD)
    found = shown(capsys, table, "logit", "--profile", "tiny")
    assert found["keep: 8"] == "experiments/paper/good.yaml:18"
    assert found["lr: 0.01"] == "experiments/paper/good.yaml:28"
    assert found["epochs: 2"] == "experiments/paper/good.yaml:27"
    assert found["batch_size: 64"] == "experiments/recipes/light.yaml:3"
    assert found["flip: 0.5"] == "default"
    assert found["name: logit"] == "default"


def test_the_place_that_the_tutorial_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    page = (root / "docs/tutorial.md").read_text(encoding="utf-8")
    command = re.search(r"\$ harness show (\S+ \S+)\n", page)
    line = re.search(r"\n +(keep: \d+) +# (\S+)\n", page)
    assert command is not None
    assert line is not None
    assert shown(capsys, *command[1].split())[line[1]] == line[2]


def test_the_same_as_json(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    table = experiments.table("paper/good", GOOD)
    assert main(["show", table, "logit", "--profile", "tiny", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["table"], shown["profile"], shown["row"]) == ("paper/good", "tiny", "logit")
    assert shown["config"]["method"]["mask"]["keep"] == 8
    assert shown["where"]["method.mask.keep"] == "experiments/paper/good.yaml:18"
    assert shown["where"]["recipe.augment.flip"] == "default"


def test_the_heading_has_what_the_paper_prints(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    table = experiments.table("paper/good", GOOD)
    assert main(["show", table, "none", "--profile", "paper"]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("# paper/good, row none (")
    assert second.startswith("# profile paper, seeds 0, 1")
    assert third.startswith("# published: acc ")


def test_an_unknown_row_is_told(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", experiments.table("paper/good", GOOD), "logits"]) == 1
    assert "unknown row 'logits'; did you mean 'logit'?" in capsys.readouterr().err


def test_without_a_row_all_are_listed(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    table = experiments.table("paper/good", GOOD)
    assert main(["show", table, "--profile", "tiny"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "# paper/good, profile tiny: 2 rows",
        "none   No distillation",
        "logit  logit",
    ]
    assert main(["show", table, "--json"]) == 1
    assert "--json shows one row" in capsys.readouterr().err
