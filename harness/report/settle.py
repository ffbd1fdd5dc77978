"""`--until-settled`: more seeds for the claims that are open, in planned stages.

Every claim that trained rows decide is judged with 3 seeds; those that are not settled then get 6,
and 12, all rows of a claim the same seeds. Nobody chooses when to look, so the level that the
intervals allow for holds (see `harness.report.looks`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.inference import STAGES
from harness.report.model import ClaimResult, TableModel, Verdict
from harness.spec.table import Claim, Column, Profile, TableSpec
from harness.text import count

if TYPE_CHECKING:
    from harness.api import Selection

OPEN = frozenset({Verdict.NOT_SETTLED, Verdict.LEANING, Verdict.NOT_RUN})


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedBatch:
    """The rows of one claim, or at the first stage all rows, with the seeds of the stage."""

    stage: int
    rows: str | None  # globs, as `harness run --rows` takes them
    seeds: tuple[int, ...]
    why: str  # a line that says what it is for

    @property
    def part(self) -> Selection:
        """Which part of the table it is."""
        return {"rows": self.rows, "seeds": self.seeds}


def until_settled(
    table: TableSpec,
    profile: str,
    compute: Callable[[SeedBatch], bool],
    judge: Callable[[Sequence[int]], TableModel],
    cost: Callable[[SeedBatch], float],
) -> str:
    """Compute batch after batch, the cheapest of a stage first, until every claim is settled or has
    the seeds of the last stage; the sentence that says which.

    `compute` gives False to end here: it was stopped, or the runs are a cluster's now. `judge`
    reports on the seeds of a stage, which is the look at the results that is noted; `cost`
    estimates what is missing of a batch.
    """
    chosen = table.profile(profile)
    columns = table.columns_at(profile)
    if not any(_is_trained(claim, columns) for claim in chosen.claims):
        usual = SeedBatch(
            stage=0, rows=None, seeds=chosen.seeds, why="no claim waits for more seeds"
        )
        compute(usual)
        return "No claim here is decided by training: there is nothing to settle."
    first = SeedBatch(
        stage=STAGES[0],
        rows=None,
        seeds=stage_seeds(chosen.seeds, STAGES[0]),
        why=f"stage of {STAGES[0]} seeds: all rows",
    )
    if not compute(first):
        return ""
    left = unsettled(judge(first.seeds))
    for stage in STAGES[1:]:
        if not left:
            break
        batches = [_batch(claim, chosen, stage) for claim in left]
        for batch in sorted(batches, key=cost):
            if not compute(batch):
                return ""
        model = judge(stage_seeds(chosen.seeds, stage))
        left = [claim for claim in unsettled(model) if claim.claim.id in _ids(left)]
    return _told(left)


def _told(left: Sequence[ClaimResult]) -> str:
    """Which claims are open, by the number of seeds that they have: some of them may be blocked, or
    have failed.
    """
    if not left:
        return "No claim that training decides is open."
    by_seeds: dict[int, list[str]] = {}
    for claim in left:
        by_seeds.setdefault(len(claim.look_seeds[-1]) if claim.look_seeds else 0, []).append(
            claim.claim.id
        )
    parts = [
        f"{count(len(names), 'claim')} "
        + (f"not settled with {count(n, 'seed')}" if n else "without a result")
        + f": {', '.join(names)}"
        for n, names in sorted(by_seeds.items(), reverse=True)
    ]
    return f"{'; '.join(parts)}."


def _is_trained(claim: Claim, columns: Mapping[str, Column]) -> bool:
    return any(columns[cell.column].evidence == "seeds" for cell in claim.holds.cells)


def _ids(claims: Sequence[ClaimResult]) -> set[str]:
    return {claim.claim.id for claim in claims}


def _batch(claim: ClaimResult, profile: Profile, stage: int) -> SeedBatch:
    rows = dict.fromkeys(ref.row for ref in claim.claim.holds.cells)
    return SeedBatch(
        stage=stage,
        rows=",".join(rows),
        seeds=stage_seeds(profile.seeds, stage),
        why=f"stage of {stage} seeds: {claim.claim.id} ({claim.verdict})",
    )


def stage_seeds(planned: Sequence[int], stage: int) -> tuple[int, ...]:
    """So many seeds: those `planned`, and the smallest others."""
    seeds = list(planned[:stage])
    candidate = 0
    while len(seeds) < stage:
        if candidate not in seeds:
            seeds.append(candidate)
        candidate += 1
    return tuple(seeds)


def unsettled(model: TableModel) -> list[ClaimResult]:
    """The claims that more seeds could settle."""
    columns = {column.id: column for column in model.columns}
    return [
        claim
        for claim in model.claims
        if claim.verdict in OPEN and _is_trained(claim.claim, columns)
    ]
