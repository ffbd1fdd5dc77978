"""The specs of MaskedKD's tables and figures as a whole: profiles, targets, what they use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.masking import CRITERIA
from harness.methods import METHODS
from harness.methods.losses import LOSSES
from harness.spec.expand import expand
from harness.spec.load import load_table

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "experiments/maskedkd"
SPECS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TARGETS = {"budget": "budget-curve"}


def test_every_table_and_figure_is_there() -> None:
    tables = {f"table{number}" for number in (2, 5, 6, 7, 8, 9, 10, 11)}
    assert {*tables, "fig2", "fig3", "fig6", "budget"} <= set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_every_profile_expands_and_has_a_make_target(name: str) -> None:
    table = load_table(f"maskedkd/{name}")
    wanted = {"paper", "cpu", "smoke"} | ({"gpu1"} if name in ("table2", "table6") else set())
    assert wanted <= set(table.profiles)
    for profile in wanted - {"paper"}:
        found = expand(table, profile)
        assert found.runs
        assert all(row.waits_for is None for row in found.rows), profile
    assert len(table.profiles["cpu"].seeds) >= 3
    target = TARGETS.get(name, name)
    assert re.search(rf"^{target}: install", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SPECS)
def test_every_row_is_implemented(name: str) -> None:
    rows = expand(load_table(f"maskedkd/{name}"), "paper").rows
    assert rows
    assert not [row.row.id for row in rows if row.waits_for is not None]


def test_everything_that_is_registered_is_in_a_spec() -> None:
    used: set[tuple[str, str]] = set()
    for path in FOLDER.glob("*.yaml"):
        for row in expand(load_table(f"maskedkd/{path.stem}"), "paper").rows:
            assert row.config is not None
            method: Any = row.config.method
            used.add(("method", METHODS.name_of(type(method))))
            if hasattr(method, "loss"):
                used.add(("loss", LOSSES.name_of(type(method.loss))))
            if getattr(method, "mask", None) is not None:
                used.add(("criterion", CRITERIA.name_of(type(method.mask.criterion))))
    known = {("method", name) for name in METHODS.names()}
    known |= {("loss", name) for name in LOSSES.names()}
    known |= {("criterion", name) for name in CRITERIA.names()}
    assert known == used
