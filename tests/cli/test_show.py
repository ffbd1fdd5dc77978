"""`harness show`: where each value of a row is written."""

from __future__ import annotations

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
    assert found["keep: 8"].startswith("experiments/paper/good.yaml:18:")
    assert found["lr: 0.01"].startswith("experiments/paper/good.yaml:28:")
    assert found["epochs: 2"].startswith("experiments/paper/good.yaml:27:")
    assert found["batch_size: 64"].startswith("experiments/recipes/light.yaml:3:")
    assert found["flip: 0.5"] == "default"
    assert found["name: logit"] == "default"


def test_an_unknown_row_is_told(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", experiments.table("paper/good", GOOD), "logits"]) == 1
    assert "unknown row 'logits'; did you mean 'logit'?" in capsys.readouterr().err
