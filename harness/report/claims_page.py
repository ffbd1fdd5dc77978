"""The claims of several tables on one page: what holds, what does not, what is open."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.builder import claim_row, claims_table
from harness.report.document import Block, Document, GroupRow, Heading, Paragraph, TableCell
from harness.report.format import HEADINGS, NOUNS, listed
from harness.report.model import ClaimResult, Source, TableModel
from harness.report.summary import counted


def build_claims_page(models: Sequence[TableModel], profile: str) -> Document:
    """A page over tables at one profile; claims without any result are named by their table."""
    title = f"What holds, profile {profile}"
    blocks: list[Block] = [Heading(text=title, level=1)]
    tested = {
        source: [(model, claims) for model in models if (claims := _tested(model, source))]
        for source in NOUNS
    }
    blocks += [
        Paragraph(text=counted([claim for _, claims in tables for claim in claims], source))
        for source, tables in tested.items()
        if tables
    ]
    for source, tables in tested.items():
        if tables:
            rows = [row for model, claims in tables for row in _rows(model, claims)]
            blocks += [Heading(text=HEADINGS[source]), claims_table(source, rows)]
    without = [f"`{model.table}`" for model in models if not any(c.n for c in model.claims)]
    if without:
        names = listed(without, most=len(without))
        blocks += [Heading(text="Without a result"), Paragraph(text=f"{names}.")]
    return Document(title=title, subject=f"profile {profile}", blocks=tuple(blocks))


def _tested(model: TableModel, source: Source) -> list[ClaimResult]:
    return [claim for claim in model.claims_by(source) if claim.n]


def _rows(
    model: TableModel, claims: Sequence[ClaimResult]
) -> list[GroupRow | tuple[TableCell, ...]]:
    heading = GroupRow(text=f"`{model.table}`: {model.caption or model.title}")
    return [heading, *(claim_row(claim) for claim in claims)]
