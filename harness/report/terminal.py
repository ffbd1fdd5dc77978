"""The short summary that `harness report` prints."""

from __future__ import annotations

from tabulate import tabulate

from harness.report.document import GroupRow
from harness.report.main_table import main_table
from harness.report.model import Claim, TableModel
from harness.report.summary import collapse, headline, marked, untested
from harness.report.wording import HEADINGS, signed, span, with_unit
from harness.text import number


def overview(model: TableModel) -> str:
    """Verdicts in words, then the claims, then the table."""
    parts = [f"{model.table}, profile {model.profile}", headline(model)]
    for source, heading in HEADINGS.items():
        if claims := model.claims_by(source):
            parts.append("\n".join([heading, *(f"  {_claim(claim)}" for claim in claims)]))
    if text := collapse(model):
        parts.insert(2, f"collapsed: {text}.")
    if line := untested(model):
        parts.append(line.replace("`", ""))
    return "\n\n".join([*parts, _table(model)])


def _claim(claim: Claim) -> str:
    verdict = f"{marked(claim.judgement.verdict):<15}"
    if claim.estimate is None:
        return f"{verdict} {claim.says}"
    write = signed if " − " in claim.quantity else number
    found = with_unit(write(claim.estimate, claim.decimals), claim.unit)
    interval = (
        "" if claim.ci is None or claim.n < 2 else f", 95 % CI {span(claim.ci, claim.decimals)}"
    )
    return f"{verdict} {claim.says}: {found}{interval}"


def _table(model: TableModel) -> str:
    table = main_table(model)
    headers = [f"{column.span}\n{column.title}" for column in table.columns]
    rows = [
        [row.text, *[""] * (len(headers) - 1)]
        if isinstance(row, GroupRow)
        else [f"  {row[0].text}", *(cell.text for cell in row[1:])]
        for row in table.rows
    ]
    align = [column.align for column in table.columns]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=align)
