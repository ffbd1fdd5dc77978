"""Claims as tables: what is claimed and what came of it, under the preconditions that guard it, and
what each verdict rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.document import GroupRow, TableCell, TableColumn, TextTable
from harness.report.format import OPERATORS, interval_text, listed, marked, with_unit
from harness.report.inference import CONFIDENCE_TEXT, LEVEL
from harness.report.model import ClaimResult, ClaimSource
from harness.report.preconditions import guarded, told
from harness.report.summary import TONES
from harness.text import count, number

CAPTIONS: dict[ClaimSource, str] = {
    "paper": "Claims of the paper, in words or by its printed numbers.",
    "ours": "Our own checks: bounds that the paper does not print, how rows were paired, rows or "
    "quantities that it does not have.",
}
JUDGED: dict[ClaimSource, str] = {
    "paper": f"Trained results are judged by {CONFIDENCE_TEXT} confidence intervals, adjusted for "
    "all trained claims of the paper in the table; computed and timed ones by their value.",
    "ours": "Judged as the paper's claims are, and adjusted for their own number.",
}
Rows = Sequence[GroupRow | tuple[TableCell, ...]]


def claims_table(source: ClaimSource, rows: Rows, *, by_page: bool = False) -> TextTable:
    """What the paper claims, or our own checks, with verdicts and reasons; of one table, or of a
    page of tables, which has a column for q.
    """
    columns = [
        TableColumn(title="Claim" if source == "paper" else "Check", weight=2.4),
        TableColumn(title="Verdict", weight=1.75),
        TableColumn(title="Estimate", align="right", weight=1.4),
        TableColumn(title=f"{CONFIDENCE_TEXT} CI", align="right", weight=1.5),
        TableColumn(title="Adjusted CI", align="right", weight=1.5),
        TableColumn(title="Claimed", align="right", weight=1.1),
        *([TableColumn(title="q", align="right")] if by_page else []),
        TableColumn(title="Why", weight=4.0),
    ]
    return TextTable(
        name="claims" if source == "paper" else "checks",
        caption=f"{CAPTIONS[source]} {JUDGED[source]}",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def claim_rows(
    claims: Sequence[ClaimResult], *, q: Mapping[str, float] | None = None
) -> list[GroupRow | tuple[TableCell, ...]]:
    """The lines of `claims_table`, claims below the preconditions that guard them; `q` by the ids
    of the claims, on a page of tables.
    """
    rows: list[GroupRow | tuple[TableCell, ...]] = []
    for preconditions, members in guarded(claims):
        noun = "claim" if members[0].source == "paper" else "check"
        which = noun if len(members) == 1 else count(len(members), noun)
        rows += [GroupRow(text=f"Given for the {which} below: {told(p)}") for p in preconditions]
        rows += [_row(claim, q) for claim in members]
    return rows


def _row(claim: ClaimResult, q: Mapping[str, float] | None) -> tuple[TableCell, ...]:
    verdict, decimals = claim.verdict, claim.decimals
    estimate = (
        "–" if claim.estimate is None else with_unit(number(claim.estimate, decimals), claim.unit)
    )
    margin = f"{OPERATORS[claim.claim.holds.operator]} {number(claim.margin, decimals)}"
    adjusted = "–" if claim.adjusted is None else interval_text(claim.adjusted, decimals)
    return (
        TableCell(text=claim.claim.text),
        TableCell(text=marked(verdict), tone=TONES[verdict]),
        TableCell(text=estimate),
        TableCell(text=_interval(claim)),
        TableCell(text=adjusted),
        TableCell(text=margin),
        *([] if q is None else [TableCell(text=probability(q.get(claim.claim.id)))]),
        TableCell(text=claim.reason),
    )


def _interval(claim: ClaimResult) -> str:
    if claim.ci is None:
        return "–"
    return "exact" if claim.is_point else interval_text(claim.ci, claim.decimals)


def probability(value: float | None) -> str:
    """A p or q value, as it is usually written."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def basis_table(claims: Sequence[ClaimResult]) -> TextTable | None:
    """What the verdicts of trained claims rest on: seeds, their spread, and how many are needed."""
    measured = [claim for claim in claims if claim.n]
    if not measured:
        return None
    columns: list[tuple[TableColumn, list[str]]] = [
        (TableColumn(title="Claim", weight=3.0), [claim.claim.text for claim in measured]),
        (TableColumn(title="Seeds", weight=1.4), [_seeds(claim) for claim in measured]),
        (
            TableColumn(title="sd, moderated", align="right", weight=1.4),
            [_spreads(claim) for claim in measured],
        ),
        (
            TableColumn(title="SE over images", align="right"),
            [_rounded(claim, claim.se_images) for claim in measured],
        ),
        (
            TableColumn(title="p, adjusted", align="right", weight=1.5),
            [_probabilities(claim) for claim in measured],
        ),
        (
            TableColumn(title="Looks at", weight=1.2),
            [_looks(claim) for claim in measured],
        ),
        (
            TableColumn(title="Seeds needed", weight=1.3),
            [_needed(claim) for claim in measured],
        ),
    ]  # fmt: skip
    told_columns = [(column, texts) for column, texts in columns if set(texts) != {"–"}]
    return TextTable(
        name="basis",
        caption=(
            "sd: standard deviation over these seeds, of differences where two rows are compared; "
            "moderated: with what the other rows of the table say of it, and never less than whole "
            "test images allow. SE over images: what the choice of test images adds, with these "
            "seeds. p: how often chance alone would bring the estimate as far from the margin or "
            "farther, to either side, if the true value were at it; adjusted by Holm's method, and "
            f"decided at {LEVEL:g} or less. Looks: with how many seeds the claim was judged each "
            "time. Seeds needed: to settle the claim four times of five if mean and spread stay as "
            "they are; in parentheses, for the ends of the 95 % interval of the spread."
        ),
        columns=tuple(column for column, _ in told_columns),
        rows=tuple(
            tuple(TableCell(text=texts[index]) for _, texts in told_columns)
            for index in range(len(measured))
        ),
    )


def _seeds(claim: ClaimResult) -> str:
    n = str(claim.n)
    if claim.claim.holds.over is not None and claim.look_seeds:  # `n` counts rows
        n = f"{len(claim.look_seeds[-1])}, in {count(claim.n, 'row')}"
    if not claim.failed_seeds:
        return n
    failed = listed([str(seed) for seed in claim.failed_seeds], most=8)
    word = "seed" if len(claim.failed_seeds) == 1 else "seeds"
    return f"{n}; {word} {failed} failed"


def _spreads(claim: ClaimResult) -> str:
    if claim.std is None:
        return "–"
    return f"{_rounded(claim, claim.std)}, {_rounded(claim, claim.std_moderated)}"


def _rounded(claim: ClaimResult, value: float | None) -> str:
    return "–" if value is None else number(value, claim.decimals)


def _probabilities(claim: ClaimResult) -> str:
    if claim.p is None:
        return "–"
    return f"{probability(claim.p)}, {probability(claim.p_adjusted)}"


def _looks(claim: ClaimResult) -> str:
    if not claim.looks:
        return "–"
    *before, now = claim.looks
    return listed([*map(str, before), count(now, "seed")], most=9)


def _needed(claim: ClaimResult) -> str:
    if not claim.seeds_needed:
        return "–"
    several = f" ({claim.seeds_needed_range})" if claim.seeds_needed_range else ""
    return f"{claim.seeds_needed}{several}"
