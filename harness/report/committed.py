"""Claims as a CSV file has them, for pages that are written from committed results alone."""

from __future__ import annotations

from pathlib import Path

from harness.errors import HarnessError
from harness.report.claims import Comparison, Side, judge_claim
from harness.report.collect import column_of
from harness.report.drift import Line, read_lines
from harness.report.model import Claim, Judgement, TableModel, Verdict
from harness.report.render.csv import CLAIMS
from harness.report.statistics import Interval
from harness.spec import table as spec


def read_claims(table: spec.TableSpec, profile: str, path: Path) -> TableModel:
    """The claims of a table at a profile with the numbers and verdicts of `path`, as a model that
    has nothing else. HarnessError where the file has a claim that the spec does not.
    """
    known = {claim.id: claim for claim in table.profile(profile).claims}
    claims = []
    for line in read_lines(path, CLAIMS, CLAIMS):
        if line["claim"] not in known:
            raise HarnessError(f"{line.place}: {table.name} has no claim '{line['claim']}'")
        claims.append(_claim(known[line["claim"]], table, line))
    paper = table.paper
    return TableModel(
        table=table.name,
        profile=profile,
        title=paper.title,
        caption=paper.caption,
        claims=tuple(claims),
    )


def _claim(claim: spec.Claim, table: spec.TableSpec, line: Line) -> Claim:
    check = claim.holds
    form = judge_claim(
        Comparison(
            column=column_of(table.columns[check.left.column]),
            left=Side(label=check.left.row, values={}),
            operator=check.operator,
            right=None if check.right is None else Side(label=check.right.row, values={}),
            factor=check.factor,
            offset=check.offset,
        )
    )
    ci = None
    if line["ci_low"]:
        ci = Interval(low=line.number("ci_low"), high=line.number("ci_high"))
    return Claim(
        id=claim.id,
        says=line["says"].removeprefix("'"),
        check=check.text,
        operator=check.operator,
        quantity=form.quantity,
        unit=form.unit,
        decimals=form.decimals,
        margin=line.number("margin"),
        n=int(line.number("n")),
        estimate=line.number("estimate") if line["estimate"] else None,
        ci=ci,
        judgement=Judgement(verdict=_verdict(line), reason=line["reason"].removeprefix("'")),
        source="ours" if line["source"] == "ours" else "paper",
    )


def _verdict(line: Line) -> Verdict:
    try:
        return Verdict(line["verdict"])
    except ValueError:
        raise HarnessError(f"{line.place}: verdict: '{line['verdict']}' is none") from None
