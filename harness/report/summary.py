"""The verdict in plain words: what holds, what does not, what could not be tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.evaluate.collapse import COLLAPSED
from harness.report.document import Item, Tone
from harness.report.format import NOUNS, OPERATORS, interval_text, listed, with_unit
from harness.report.model import ClaimResult, Source, TableModel, Verdict
from harness.spec.table import Column
from harness.text import count, number

TONES: dict[Verdict, Tone] = {
    Verdict.REPRODUCED: "good",
    Verdict.SUPPORTED: "good",
    Verdict.MISPRINT: "good",
    Verdict.INDICATIVE: "warn",
    Verdict.NOT_SETTLED: "warn",
    Verdict.LEANING: "warn",
    Verdict.OUT_OF_SCOPE: "muted",
    Verdict.ABOVE: "bad",
    Verdict.BELOW: "bad",
    Verdict.CONTRADICTED: "bad",
    Verdict.FAILED: "bad",
    Verdict.NOT_COMPARABLE: "muted",
    Verdict.MISSING: "muted",
    Verdict.NOT_RUN: "muted",
}

MARKS = {
    Verdict.REPRODUCED: "✓",
    Verdict.SUPPORTED: "✓",
    Verdict.MISPRINT: "✓",
    Verdict.INDICATIVE: "≈",
    Verdict.NOT_SETTLED: "?",
    Verdict.LEANING: "~",
    Verdict.OUT_OF_SCOPE: "⊘",
    Verdict.ABOVE: "▲",
    Verdict.BELOW: "▼",
    Verdict.CONTRADICTED: "✗",
    Verdict.FAILED: "✗",
    Verdict.NOT_COMPARABLE: "–",
    Verdict.MISSING: "○",
    Verdict.NOT_RUN: "○",
}


def marked(verdict: Verdict) -> str:
    """The verdict with a mark that does not rely on colour."""
    return f"{MARKS[verdict]} {verdict}".replace(" ", "\N{NO-BREAK SPACE}")


def headline(model: TableModel) -> str:
    """One paragraph: counts of the paper's claims, of our own checks, and of cells."""
    return " ".join(
        part
        for part in (_claims_sentence(model), _cells_sentence(model), _runs_sentence(model))
        if part
    )


def _claims_sentence(model: TableModel) -> str:
    if not model.claims:
        return "No claim is judged at this profile."
    if not any(claim.n for claim in model.claims):
        return "No claim is tested yet."
    parts = (counted(model.claims_by(source), source) for source in NOUNS)
    return " ".join(filter(None, parts))


def counted(claims: Sequence[ClaimResult], source: Source) -> str:
    """How many of the papers' claims, or of our own checks, have come out which way."""
    one, several = NOUNS[source]
    if not claims:
        return "No claim of the paper is judged at this profile." if source == "paper" else ""
    total, split = len(claims), _split(claims)
    outcomes = {
        "supported": len(split[Verdict.SUPPORTED]),
        "contradicted": len(split[Verdict.CONTRADICTED]),
        "measured but not settled": sum(claim.n > 0 for claim in split[Verdict.NOT_SETTLED]),
        "not tested": sum(claim.n == 0 for claim in claims),
    }
    parts = [f"{n} {'is' if n == 1 else 'are'} {outcome}" for outcome, n in outcomes.items() if n]
    if len(parts) == 1:
        outcome = next(outcome for outcome, n in outcomes.items() if n)
        if outcome == "not tested" and total > 1:
            return f"None of the {total} {several} is tested."
        who = {1: f"The one {one} is", 2: f"Both {several} are"}
        return f"{who.get(total, f'All {total} {several} are')} {outcome}."
    return f"Of {total} {several}, {listed(parts)}."


def _split(claims: Sequence[ClaimResult]) -> dict[Verdict, list[ClaimResult]]:
    kinds = (Verdict.SUPPORTED, Verdict.CONTRADICTED, Verdict.NOT_SETTLED)
    return {kind: [claim for claim in claims if claim.verdict is kind] for kind in kinds}


def _cells_sentence(model: TableModel) -> str:
    if not model.as_published:
        return (
            f"Absolute numbers are not held against the paper's: {_ended(model.profile_difference)}"
        )
    return " ".join(filter(None, (_column_sentence(model, column) for column in model.columns)))


def _column_sentence(model: TableModel, column: Column) -> str:
    verdicts = Counter(
        cell.judgement.verdict
        for row in model.rows
        if (cell := row.cell(column.id)).published is not None and cell.judgement is not None
    )
    total = sum(verdicts.values())
    if not total:
        return ""
    if verdicts[Verdict.MISSING] == total:
        return f"{column.label}: none of the {total} printed numbers could be tested."
    order = [kind for kind in Verdict if verdicts[kind]]
    parts = [f"{verdicts[kind]} {_CELL_WORDS.get(kind, str(kind))}" for kind in order]
    return f"{column.label}: of {total} printed numbers, {listed(parts, most=6)}."


_CELL_WORDS = {
    Verdict.REPRODUCED: "reproduced",
    Verdict.MISPRINT: "a misprint whose meaning is reproduced",
    Verdict.INDICATIVE: "indicative only",
    Verdict.ABOVE: "above tolerance",
    Verdict.BELOW: "below tolerance",
    Verdict.MISSING: "could not be tested",
    Verdict.FAILED: "failed",
}


def _runs_sentence(model: TableModel) -> str:
    failed = model.provenance.failed
    return f"{count(failed, 'run')} failed." if failed else ""


def _ended(sentence: str) -> str:
    text = " ".join(sentence.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def untested(model: TableModel) -> str:
    """Which claims of the table the profile cannot test; empty where it asks all of them."""
    if not model.untested:
        return ""
    ids = listed([f"`{claim.claim.id}`" for claim in model.untested], most=len(model.untested))
    n = count(len(model.untested), "claim of the table", "claims of the table")
    return f"{n} cannot be tested at this profile: {ids}."


def collapse(model: TableModel) -> str:
    """Which rows have collapsed, with how many of their seeds; empty where none has."""
    rows = [
        f"{model.full_name(row.id)} ({count(len(row.collapsed), 'seed')} of {len(model.seeds)})"
        for row in model.rows
        if row.collapsed
    ]
    if not rows:
        return ""
    meaning = f"features/std ended below {COLLAPSED:g}, all images look the same to the network"
    return f"{listed(rows, most=8)}: {meaning}"


def findings(model: TableModel) -> tuple[Item, ...]:
    """The claims by outcome, in their own words, the paper's before our own checks; those without
    any result only as a number.
    """
    return tuple(item for source in NOUNS for item in _findings(model, source))


def _findings(model: TableModel, source: Source) -> list[Item]:
    split = _split(model.claims_by(source))
    by_us = " (our own check)" if source == "ours" else ""
    leads: tuple[tuple[Verdict, str, Tone], ...] = (
        (Verdict.SUPPORTED, "Holds", "good"),
        (Verdict.CONTRADICTED, "Does not hold", "bad"),
        (Verdict.NOT_SETTLED, "Not settled", "warn"),
    )
    items = [
        Item(lead=f"{lead}{by_us}", tone=tone, text=_told(claim))
        for verdict, lead, tone in leads
        for claim in split[verdict]
        if claim.n
    ]
    open_claims = sum(not claim.n for claim in model.claims_by(source))
    if items and open_claims:
        text = f"{count(open_claims, *NOUNS[source])} for want of results, see the table."
        items.append(Item(lead="Not tested", tone="muted", text=text))
    return items


def _told(claim: ClaimResult) -> str:
    """The claim, and in parentheses what was estimate."""
    assert claim.estimate is not None
    estimate = with_unit(number(claim.estimate, claim.decimals), claim.unit)
    if claim.ci is not None and claim.n > 1:
        estimate += f", 95 % CI {interval_text(claim.ci, claim.decimals)}"
    limit = f"{OPERATORS[claim.claim.holds.operator]} {number(claim.margin, claim.decimals)}"
    says = " ".join(claim.claim.text.split()).rstrip(".")
    return f"{says} ({estimate}; claimed {limit}).{_outlook(claim)}"


def _outlook(claim: ClaimResult) -> str:
    if not claim.n or not claim.seeds_needed:
        return ""
    needed = claim.seeds_needed
    amount = f"more than {needed[2:]}" if needed.startswith(">") else needed
    return (
        f" It takes {'' if needed.startswith(('>', '2 or')) else 'about '}{amount} seeds to settle."
    )
