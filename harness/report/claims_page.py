"""The claims of several tables on one page: what holds, what does not, what is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.builder import title_of_report
from harness.report.claim_tables import claim_rows, claims_table
from harness.report.document import Block, Document, GroupRow, Heading, Paragraph, TableCell
from harness.report.format import HEADINGS, NOUNS, listed
from harness.report.inference import LEVEL, benjamini_hochberg
from harness.report.legend import INTERVALS
from harness.report.model import ClaimResult, ClaimSource, TableModel, Verdict
from harness.report.summary import counted

FALSE_SHARE = LEVEL  # at one look; of the findings of three looks about 5 % are false on average


def build_claims_page(models: Sequence[TableModel], profile: str) -> Document:
    """A page over tables at one profile; claims without any result are named by their table."""
    title = _title(models, profile)
    blocks: list[Block] = [Heading(text=title, level=1)]
    tested = {
        source: [(model, claims) for model in models if (claims := _tested(model, source))]
        for source in NOUNS
    }
    q = {source: _q(tables) for source, tables in tested.items()}
    for source, tables in tested.items():
        if tables:
            tally = counted([claim for _, claims in tables for claim in claims], source)
            blocks.append(Paragraph(text=f"{tally}{_below(q[source], source)}"))
    for source, tables in tested.items():
        if tables:
            rows = [row for model, claims in tables for row in _rows(model, claims, q[source])]
            blocks += [Heading(text=HEADINGS[source]), claims_table(source, rows, by_page=True)]
    if any(q.values()):
        blocks.append(Paragraph(text=f"Intervals: {INTERVALS}", tone="muted"))
        text = (
            "q: the share of false findings that is to be expected among all trained claims of "
            "this page with a q this small or smaller (Benjamini and Hochberg 1995, over the p "
            "of the claims, the papers' and our own apart). Three looks at "
            f"q ≤ {FALSE_SHARE:g} come to about 5 %."
        )
        blocks.append(Paragraph(text=text, tone="muted"))
    without = [f"`{model.table}`" for model in models if not any(map(_has_result, model.claims))]
    if without:
        names = listed(without, most=len(without))
        blocks += [Heading(text="Without a result"), Paragraph(text=f"{names}.")]
    return Document(title=title, subject=f"profile {profile}", blocks=tuple(blocks))


def _title(models: Sequence[TableModel], profile: str) -> str:
    """With the data set, where all tables share one."""
    data = {model.data for model in models if model.data}
    if len(data) == 1 and not any(model.as_published for model in models):
        return f"What holds at the scale of {data.pop()}, profile {profile}"
    return f"What holds, profile {profile}"


def _has_result(claim: ClaimResult) -> bool:
    return claim.verdict not in (Verdict.NOT_RUN, Verdict.FAILED)


def _tested(model: TableModel, source: ClaimSource) -> list[ClaimResult]:
    return [claim for claim in model.claims_by(source) if _has_result(claim)]


def _q(tables: Sequence[tuple[TableModel, Sequence[ClaimResult]]]) -> dict[tuple[str, str], float]:
    """Benjamini and Hochberg's q by table and claim, over the claims that have a p. A comparison
    that stands in several claims has the same p in all of them; it counts once in its table.
    """
    distinct: dict[tuple[str, float, float | None, float], list[tuple[str, str]]] = {}
    for model, claims in tables:
        for claim in claims:
            if claim.p is not None and claim.verdict is not Verdict.OUT_OF_SCOPE:
                key = (model.table, claim.p, claim.estimate, claim.margin)
                distinct.setdefault(key, []).append((model.table, claim.claim.id))
    adjusted = benjamini_hochberg([key[1] for key in distinct])
    return {
        place: value
        for value, places in zip(adjusted, distinct.values(), strict=True)
        for place in places
    }


def _below(q: Mapping[tuple[str, str], float], source: ClaimSource) -> str:
    """How many findings stand when all trained claims of the page are looked at together."""
    if not q:
        return ""
    n = sum(value <= FALSE_SHARE for value in q.values())
    noun = "claim" if source == "paper" else "check"
    tested = f"{len(q)} trained {noun}{'s' if len(q) > 1 else ''}"
    return f" Of the {tested} on this page, {n} {'has' if n == 1 else 'have'} q ≤ {FALSE_SHARE:g}."


def _rows(
    model: TableModel, claims: Sequence[ClaimResult], q: Mapping[tuple[str, str], float]
) -> list[GroupRow | tuple[TableCell, ...]]:
    shown = model.caption and not model.as_published  # there the title says it
    in_paper = f"; in the paper: {model.caption}" if shown else ""
    heading = GroupRow(text=f"{title_of_report(model)} (`{model.table}`{in_paper})")
    own = {claim: value for (table, claim), value in q.items() if table == model.table}
    return [heading, *claim_rows(claims, q=own)]
