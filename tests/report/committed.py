"""Claims as a CSV file has them, for pages that are written from committed results alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import HarnessError
from harness.report.claims import Side, judge_claim
from harness.report.collect import data_of
from harness.report.compare import Line, read_lines
from harness.report.model import ClaimResult, TableModel, Verdict
from harness.report.render.csv import CLAIMS
from harness.report.statistics import Interval
from harness.spec.expand import expand
from harness.spec.table import Claim, TableSpec


def read_claims(table: TableSpec, profile: str, path: Path) -> TableModel:
    """The claims of a table at a profile with the numbers and verdicts of `path`, as a model that
    has nothing else. HarnessError where the file has a claim that the spec does not.
    """
    by_id = {claim.id: claim for claim in table.profile(profile).claims}
    claims = []
    for line in read_lines(path, CLAIMS, CLAIMS):
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
    untested = judge_claim(
        claim,
        table.columns[comparison.left.column],
        Side(label=comparison.left.row, values={}),
        None if comparison.right is None else Side(label=comparison.right.row, values={}),
    )
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
