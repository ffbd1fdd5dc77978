"""What must hold for a claim to mean at a profile what it means in the paper: claims under their
preconditions, and a precondition in words, with what was measured beside what is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.report.format import OPERATORS, interval_text, marked, with_unit
from harness.report.inference import CONFIDENCE_TEXT
from harness.report.model import ClaimResult, PreconditionResult, TableModel, Verdict
from harness.text import number

OUTCOMES = {Verdict.SUPPORTED: "holds", Verdict.CONTRADICTED: "does not hold"}
"""Of a precondition, in place of the verdict's word."""


def guarded(
    claims: Iterable[ClaimResult],
) -> list[tuple[tuple[PreconditionResult, ...], list[ClaimResult]]]:
    """Claims with the preconditions that they share, in order of first appearance; those without
    any come first. Preconditions that read alike, of rows with the same teacher, are told once.
    """
    groups: dict[tuple[str, ...], tuple[tuple[PreconditionResult, ...], list[ClaimResult]]] = {}
    for claim in claims:
        key = tuple(map(told, claim.preconditions))
        groups.setdefault(key, (claim.preconditions, []))[1].append(claim)
    return sorted(groups.values(), key=lambda group: bool(group[0]))


def drawn_claims(model: TableModel) -> list[ClaimResult]:
    """Those that the forest plot shows: decided by training, and measured."""
    return [c for c in model.claims if model.is_trained(c) and c.estimate is not None]


def outcome(precondition: PreconditionResult) -> str:
    """Whether it holds, with a mark that does not rely on colour."""
    verdict = precondition.verdict
    return marked(verdict, OUTCOMES.get(verdict, str(verdict)))


def values(precondition: PreconditionResult, *, interval: bool = True) -> str:
    """What was measured, and what is needed."""
    unit, decimals = precondition.unit, precondition.decimals
    limit = with_unit(number(precondition.margin, decimals), unit)
    needed = f"needs {OPERATORS[precondition.operator]} {limit}"
    if precondition.estimate is None:
        return f"not measured, {needed}"
    measured = with_unit(number(precondition.estimate, decimals), unit)
    if interval and precondition.ci is not None and not precondition.is_point:
        measured += f" ({CONFIDENCE_TEXT} CI {interval_text(precondition.ci, decimals)})"
    return f"{measured}, {needed}"


def told(precondition: PreconditionResult) -> str:
    """In one line: what must hold, both values, whether it does."""
    says = " ".join(precondition.text.split()).rstrip(".")
    return f"{says}: {values(precondition)}: {outcome(precondition)}"
