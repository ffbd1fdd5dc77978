"""Claims as a CSV file has them, for pages that are written from committed results alone; and
reports made again from their per-seed values.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.report.builder import build_report
from harness.report.claims import Tested, judge_claim
from harness.report.collect import data_of
from harness.report.measure import Side
from harness.report.model import ClaimResult, TableModel, Verdict
from harness.report.over_rows import deciding_measure
from harness.report.publish import file_name
from harness.report.read_csv import Line, read_lines
from harness.report.render.csv import CLAIMS, cells_csv, claims_csv, seeds_csv
from harness.report.render.markdown import markdown
from harness.report.seeds_file import read_seeds_file
from harness.report.statistics import Interval
from harness.spec.expand import expand
from harness.spec.table import Claim, TableSpec


def read_claims(table: TableSpec, profile: str, path: Path) -> TableModel:
    """The claims of a table at a profile with the numbers and verdicts of `path`, as a model that
    has nothing else. HarnessError where the file has a claim that the spec does not.
    """
    by_id = {claim.id: claim for claim in table.profile(profile).claims}
    claims = []
    for line in read_lines(path, CLAIMS, CLAIMS[:12]):
        if line["claim"] not in by_id:
            raise HarnessError(f"{line.place}: {table.name} has no claim '{line['claim']}'")
        claims.append(_claim(by_id[line["claim"]], table, line))
    paper = table.paper
    return TableModel(
        table=table.name,
        profile=profile,
        title=paper.title,
        caption=paper.caption,
        short=paper.short,
        number=paper.table or "",
        data=data_of(expand(table, profile)),
        claims=tuple(claims),
    )


def _claim(claim: Claim, table: TableSpec, line: Line) -> ClaimResult:
    comparison = claim.holds
    column = table.columns[comparison.left.column]
    sides = [Side(label=cell.row, values={}) for cell in comparison.cells]
    measure = deciding_measure(comparison, column, *sides)
    untested = judge_claim(claim, column, sides, Tested(measure=measure))
    ci = None
    if line["ci_low"]:
        ci = Interval(low=line.number("ci_low"), high=line.number("ci_high"))
    return replace(
        untested,
        claim=replace(
            claim, text=line["text"].removeprefix("'"), added_by_us=line["source"] == "ours"
        ),
        margin=line.number("margin"),
        n=int(line.number("n")),
        estimate=line.number("estimate") if line["estimate"] else None,
        ci=ci,
        verdict=_verdict(line),
        reason=line["reason"].removeprefix("'"),
    )


def _verdict(line: Line) -> Verdict:
    try:
        return Verdict(line["verdict"])
    except ValueError:
        raise HarnessError(f"{line.place}: verdict: '{line['verdict']}' is none") from None


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
