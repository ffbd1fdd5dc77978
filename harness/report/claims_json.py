"""The claims of several tables as plain values, for programs (docs/json.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.report.model import ClaimResult, Outcome, TableModel
from harness.report.statistics import Interval


def claims_json(models: Sequence[TableModel], profile: str) -> dict[str, Any]:
    """Every claim with its verdict, and those that a profile cannot ask."""
    return {
        "schema": 1,
        "profile": profile,
        "tables": [
            {
                "table": model.table,
                "data": model.data,
                "claims": [_claim(claim, model) for claim in model.claims],
                "not_asked": [one.claim.id for one in model.untested],
            }
            for model in models
        ],
    }


def _claim(claim: ClaimResult, model: TableModel) -> dict[str, Any]:
    return {
        "id": claim.claim.id,
        "text": claim.claim.text,
        "holds": claim.claim.holds.text,
        "source": claim.source,
        "trained": model.is_trained(claim),
        **_outcome(claim),
        "adjusted": _ends(claim.adjusted),
        "p": claim.p,
        "p_adjusted": claim.p_adjusted,
        "looks": list(claim.looks),
        "seeds": list(claim.look_seeds[-1]) if claim.look_seeds else [],
        "failed_seeds": list(claim.failed_seeds),
        "given": [{"text": one.text, **_outcome(one)} for one in claim.preconditions],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "verdict": str(outcome.verdict),
        "reason": outcome.reason,
        "estimate": outcome.estimate,
        "unit": outcome.unit,
        "margin": outcome.margin,
        "n": outcome.n,
        "interval": _ends(outcome.ci),
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
