"""The verdict in plain words: what holds, what does not, what could not be tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TypeVar

from harness.evaluate.collapse import COLLAPSED
from harness.report.document import Item, Tone
from harness.report.format import NOUNS, OPERATORS, interval_text, listed, with_unit
from harness.report.inference import CONFIDENCE_TEXT, STAGES
from harness.report.model import ClaimResult, ClaimSource, TableModel, Verdict
from harness.report.settle import stage_seeds
from harness.spec.table import Column
from harness.text import count, number

T = TypeVar("T")

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
    Verdict.FAILED: "broken",
    Verdict.NOT_COMPARABLE: "muted",
    Verdict.MISSING: "muted",
    Verdict.NOT_RUN: "muted",
}

MOST_NAMED = 8  # claims that a profile cannot test, in one sentence


def headline(model: TableModel) -> str:
    """One paragraph: counts of the paper's claims, of our own checks, and of cells."""
    return " ".join(
        part
        for part in (
            _claims_sentence(model),
            _seeds_sentence(model),
            _cells_sentence(model),
            _runs_sentence(model),
        )
        if part
    )


def _claims_sentence(model: TableModel) -> str:
    if not model.claims:
        return "No claim is judged at this profile."
    if all(claim.verdict is Verdict.NOT_RUN for claim in model.claims):
        return "No claim is tested yet."
    parts = (counted(model.claims_by(source), source) for source in NOUNS)
    return " ".join(filter(None, parts))


def counted(claims: Sequence[ClaimResult], source: ClaimSource) -> str:
    """How many of the papers' claims, or of our own checks, have come out which way."""
    one, several = NOUNS[source]
    if not claims:
        return "No claim of the paper is judged at this profile." if source == "paper" else ""
    total, verdicts = len(claims), Counter(claim.verdict for claim in claims)
    if len(verdicts) > 1:
        parts = [_outcome(verdicts[verdict], verdict) for verdict in OUTCOMES if verdicts[verdict]]
        return f"Of {total} {several}, {listed(parts, most=len(parts))}."
    (verdict,) = verdicts
    if verdict is Verdict.NOT_RUN and total > 1:
        return f"None of the {total} {several} has been run."
    if verdict is Verdict.NOT_SETTLED and total > 1:  # "all are not settled" could be misread
        return f"None of the {total} {several} is settled."
    who = {1: f"The one {one}", 2: f"Both {several}"}.get(total, f"All {total} {several}")
    return f"{who} {_outcome(total, verdict).split(' ', 1)[1]}."


OUTCOMES = (
    Verdict.SUPPORTED,
    Verdict.CONTRADICTED,
    Verdict.LEANING,
    Verdict.NOT_SETTLED,
    Verdict.OUT_OF_SCOPE,
    Verdict.FAILED,
    Verdict.NOT_RUN,
)
"""What may become of a claim, in the order of telling."""


def _outcome(n: int, verdict: Verdict) -> str:
    """`1 is supported`, `2 failed`."""
    if verdict is Verdict.FAILED:
        return f"{n} failed"
    tense = ("was", "were") if verdict is Verdict.NOT_RUN else ("is", "are")
    return f"{n} {tense[n > 1]} {verdict}"


def _seeds_sentence(model: TableModel) -> str:
    """What claims of one seed wait for; empty where there are none."""
    if not any(claim.n == 1 and claim.seeds_needed for claim in model.claims):
        return ""
    seeds = ",".join(map(str, stage_seeds(model.seeds, STAGES[0])))
    return f"One seed gives no interval: run {STAGES[0]} seeds (`--seeds {seeds}`)."


def _cells_sentence(model: TableModel) -> str:
    if not model.as_published:
        difference = _ended(model.profile_difference)
        return (
            "Absolute numbers are not held against the paper's. "
            f"{difference[:1].upper()}{difference[1:]}"
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
    """How many claims of the table the profile cannot test, by name where they are few; empty where
    it asks all of them.
    """
    if not model.untested:
        return ""
    ids = [f"`{claim.claim.id}`" for claim in model.untested]
    n = count(len(ids), "claim of the table", "claims of the table")
    named = f": {listed(ids, most=MOST_NAMED)}" if len(ids) <= MOST_NAMED else ""
    return f"{n} cannot be tested at this profile{named}."


def collapse(model: TableModel) -> str:
    """Which rows have collapsed, with how many of their seeds; empty where none has."""
    finished = len(model.finished_seeds)
    rows = [
        f"{model.full_name(row.id)} ({count(len(row.collapsed), 'seed')} of {finished})"
        for row in model.rows
        if row.collapsed
    ]
    if not rows:
        return ""
    meaning = f"features/std ended below {COLLAPSED:g}, all images look the same to the network"
    return f"{listed(rows, most=8)}: {meaning}"


def findings(model: TableModel, *, drawn: Collection[str] = ()) -> tuple[Item, ...]:
    """The claims by outcome, in their own words, the paper's before our own checks; those without
    any result only as a number, those that a figure has `drawn` not again.
    """
    return tuple(item for source in NOUNS for item in _findings(model, source, drawn))


MEASURED = (
    Verdict.SUPPORTED,
    Verdict.CONTRADICTED,
    Verdict.LEANING,
    Verdict.NOT_SETTLED,
    Verdict.OUT_OF_SCOPE,
)


def _findings(model: TableModel, source: ClaimSource, drawn: Collection[str]) -> list[Item]:
    claims = model.claims_by(source)
    by_us = " (our own check)" if source == "ours" else ""
    items = []
    for verdict in MEASURED:
        shown = [
            claim
            for claim in claims
            if claim.verdict is verdict
            and claim.estimate is not None
            and claim.claim.id not in drawn
        ]
        lead = f"{verdict.capitalize()}{by_us}"
        for alike in together(shown, _statement):
            items.append(Item(lead=lead, tone=TONES[verdict], text=_told_together(alike)))
    for verdict, why in ((Verdict.FAILED, "their runs failed"), (Verdict.NOT_RUN, "no results")):
        n = sum(claim.verdict is verdict for claim in claims)
        if n and n < len(claims):
            text = f"{count(n, *NOUNS[source])}, {why}: see the table."
            items.append(Item(lead=str(verdict).capitalize(), tone=TONES[verdict], text=text))
    return items


def together(items: Iterable[T], statement: Callable[[T], object]) -> list[list[T]]:
    """Those with one statement in one list, in order of first appearance; None is like no other."""
    lists: list[list[T]] = []
    by_statement: dict[object, list[T]] = {}
    for item in items:
        says = statement(item)
        if says is None or says not in by_statement:
            lists.append([])
            by_statement[says] = lists[-1]
        by_statement[says].append(item)
    return lists


def said_of(text: str) -> tuple[str, str]:
    """What a claim says, and of what: `Half is enough: DeiT-S` is of one of several rows."""
    says, _, of = text.rpartition(": ")
    return (says, of) if says else (of, "")


def _statement(claim: ClaimResult) -> object:
    """What it says and asks, where nothing scatters and it is of one of several rows."""
    says, of = said_of(claim.claim.text)
    scatters = claim.ci is not None and not claim.is_point
    return None if scatters or not of or claim.seeds_needed else (says, _limit(claim))


def _limit(claim: ClaimResult) -> str:
    return f"{OPERATORS[claim.claim.holds.operator]} {number(claim.margin, claim.decimals)}"


def _told_together(claims: Sequence[ClaimResult]) -> str:
    """What they say, and then of what, each with its estimate."""
    if len(claims) == 1:
        return _told(claims[0])
    says, _ = said_of(" ".join(claims[0].claim.text.split()))
    each = "; ".join(
        f"{said_of(one.claim.text)[1].rstrip('.')} ({_estimate(one)})" for one in claims
    )
    return f"{says} (claimed {_limit(claims[0])}): {each}."


def _estimate(claim: ClaimResult) -> str:
    assert claim.estimate is not None
    return with_unit(number(claim.estimate, claim.decimals), claim.unit)


def _told(claim: ClaimResult) -> str:
    """The claim, and in parentheses what was estimated."""
    estimate = _estimate(claim)
    if claim.ci is not None and not claim.is_point:
        estimate += f", {CONFIDENCE_TEXT} CI {interval_text(claim.ci, claim.decimals)}"
    says = " ".join(claim.claim.text.split()).rstrip(".")
    return f"{says} ({estimate}; claimed {_limit(claim)}).{_outlook(claim)}"


def _outlook(claim: ClaimResult) -> str:
    """What would settle it."""
    if not claim.n or not claim.seeds_needed:
        return ""
    needed = claim.seeds_needed
    if claim.n == 1:
        return ""  # said once, of all of them
    if needed.startswith(">"):
        return f" More than {needed[1:].strip()} seeds would be needed to settle it."
    several = f" ({claim.seeds_needed_range})" if claim.seeds_needed_range else ""
    return f" About {needed} seeds{several} would be needed to settle it."
