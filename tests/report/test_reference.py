"""What is committed as reference is what the code writes from the committed numbers."""

from __future__ import annotations

import csv
import importlib
import re
from pathlib import Path

import pytest

from harness.report.format import decimals_shown
from harness.report.read_csv import read_lines
from harness.report.render.csv import CLAIMS
from harness.report.statistics import Interval
from harness.spec.load import load_table
from harness.text import enough_decimals, number
from tests.report.committed import assert_remade

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "reference"
REPORTS = ROOT / "reports" / "reference"
CELLS = sorted(
    path.relative_to(RESULTS)
    for path in RESULTS.glob("*/*/*.csv")
    if path.parent.name not in ("benchmarks", "search-history")
    and not path.name.endswith((".claims.csv", ".seeds.csv", ".images.csv"))
)


def parts(path: Path) -> tuple[str, str, str]:
    """Machine, table and profile of a committed file of cells."""
    machine, *name = path.with_suffix("").with_suffix("").parts
    return machine, "/".join(name), path.suffixes[-2][1:]


@pytest.mark.parametrize("profile", ["fashion-mnist", "cifar10-small"])
def test_the_page_of_all_claims_is_made_of_the_committed_numbers(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    writer = importlib.import_module("write_claims")
    page = writer.page(profile)
    committed = (REPORTS / writer.NAME / f"claims.{profile}.md").read_text(encoding="utf-8")
    assert committed == page, "run `make docs`"
    assert re.search(r"Of the \d+ trained claims on this page, \d+ ha(s|ve) q ≤", page)
    assert "**Given for the " in page


@pytest.mark.parametrize("path", CELLS, ids=str)
def test_a_reference_is_what_its_per_seed_values_say(path: Path) -> None:
    machine, name, profile = parts(path)
    if not (RESULTS / path).with_suffix(".seeds.csv").is_file():
        pytest.skip(f"{path} was made before per-seed values were kept")
    assert_remade(load_table(name), profile, RESULTS / machine, REPORTS / machine)


@pytest.mark.parametrize("path", CELLS, ids=str)
def test_a_report_shows_the_committed_numbers(path: Path) -> None:
    _, name, profile = parts(path)
    table = load_table(name)
    labels = {row.id: row.label for row in table.profile(profile).rows}
    text = (REPORTS / path).with_suffix(".md").read_text(encoding="utf-8")
    lines = [re.sub(r"\\(.)", r"\1", line) for line in text.splitlines() if line[:1] == "|"]
    with (RESULTS / path).open(encoding="utf-8") as file:
        cells = [line for line in csv.DictReader(file) if line["mean"]]
    for cell in cells:
        column = table.columns[cell["column"]]
        mean, decimals = float(cell["mean"]), decimals_shown(column)
        if profile != "paper":
            decimals = enough_decimals(mean, decimals)
        shown = number(mean, decimals)
        if cell["ci_low"]:
            ci = Interval(low=float(cell["ci_low"]), high=float(cell["ci_high"]))
            shown += f" ± {number(ci.half_width, decimals)}"
        label = labels[cell["row"]]
        assert any(line.startswith(f"| {label} ") and shown in line for line in lines), (
            cell["row"],
            cell["column"],
            shown,
        )


def test_a_file_from_before_the_column_was_called_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "old.claims.csv"
    header = ",".join(CLAIMS[:12]).replace("text", "says")
    path.write_text(f"{header}\nt,p,half,Half is enough,,,,0,0,not run,r,paper\n", encoding="utf-8")
    (line,) = read_lines(path, CLAIMS, CLAIMS[:12])
    assert line["text"] == "Half is enough"
