"""Reports made again from their per-seed values."""

from __future__ import annotations

import re
from pathlib import Path

from harness.report.builder import build_report
from harness.report.publish import file_name
from harness.report.render.csv import cells_csv, claims_csv, seeds_csv
from harness.report.render.markdown import markdown
from harness.report.seeds_file import read_seeds_file
from harness.spec.table import TableSpec

OF_RUNS = ("Plots", "Provenance")
"""Sections that show what runs alone have: curves, pictures, environments."""


def assert_remade(table: TableSpec, profile: str, results: Path, reports: Path) -> None:
    """The cells, the claims and the Markdown report are those of the per-seed values."""
    name = file_name(table.name, profile)
    model = read_seeds_file(table, profile, results)
    assert cells_csv(model) == (results / f"{name}.csv").read_text(encoding="utf-8")
    assert claims_csv(model) == (results / f"{name}.claims.csv").read_text(encoding="utf-8")
    assert seeds_csv(model) == (results / f"{name}.seeds.csv").read_text(encoding="utf-8")
    page = markdown(build_report(model), pictures=Path(name).name)
    committed = (reports / f"{name}.md").read_text(encoding="utf-8")
    assert _sections(page) == _sections(committed)


def _sections(page: str) -> list[str]:
    parts = re.split(r"(?m)^(?=## )", page)
    return [part for part in parts if not part.startswith(tuple(f"## {one}" for one in OF_RUNS))]
