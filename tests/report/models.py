"""Table models built by hand: small ones with many verdicts, and one with hostile labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from io import BytesIO

from PIL import Image

from harness.errors import Location
from harness.report.model import (
    Cell,
    ClaimResult,
    ClaimSource,
    Curve,
    Draw,
    Environment,
    FinishedRun,
    PreconditionResult,
    Provenance,
    Ratio,
    RowResult,
    TableModel,
    Untested,
    Verdict,
)
from harness.report.statistics import Interval, summarise
from harness.report.verdicts import CellEvidence, judge_cell
from harness.shown_patches import KEPT_PATCHES, TEACHER_COST
from harness.spec.claims import Comparison
from harness.spec.nodes import MapNode
from harness.spec.table import Claim, Column, Printed, Published, Row, TaskChoice, Tolerance
from harness.tasks.attention import HEADS

NOWHERE = MapNode(where=Location("spec.yaml", 1, 1), entries={}, keys={})

ACC = Column(
    id="acc",
    label="Top-1",
    task=TaskChoice(name="train"),
    metric="val/top1",
    unit="%",
    better="higher",
    tolerance=Tolerance(value=0.3),
)
PFLOPS = Column(
    id="pflops",
    label="Teacher PFLOPs",
    task=TaskChoice(name="cost"),
    metric="teacher/train_pmacs",
    unit="PFLOPs",
    decimals=0,
    better="lower",
    tolerance=Tolerance(value=0.005, relative=True),
)
SPEED = Column(
    id="speed",
    label="Teacher img/s",
    task=TaskChoice(name="throughput"),
    metric="teacher/throughput",
    unit="img/s",
    decimals=0,
    better="higher",
    tolerance=Tolerance(value=0.1, relative=True),
    compare="ratio",
)
HOSTILE = r'50% <b>&amp;|`x`| $_{1}^2$ \textbf{x} #[a](b) * ~ "q" λ ≥ ± "'


def draws_of(values: Mapping[int, float]) -> tuple[Draw, ...]:
    """As if runs had given them, by seed."""
    return tuple(Draw(seed=seed, value=value) for seed, value in values.items())


def cell(
    column: Column,
    published: Published | None,
    values: tuple[float, ...],
    *,
    lacks: str = "",
    ratio: Ratio | None = None,
    differs: str = "",
) -> Cell:
    """A judged cell with the values of seeds 0, 1, ..."""
    evidence = CellEvidence(
        column=column,
        published=published,
        summary=summarise(values),
        expected_n=len(values) or 1,
        missing_reason=lacks,
        ratio=ratio,
        profile_difference=differs,
    )
    return Cell(
        column=column.id,
        published=published,
        draws=draws_of(dict(enumerate(values))),
        summary=evidence.summary,
        ratio=ratio,
        judgement=judge_cell(evidence),
        needs=(lacks,) if lacks and not values else (),
    )


def printed(value: float, decimals: int = 1, confidence: str = "exact") -> Published:
    """A number of the paper."""
    number = Printed(value=value, decimals=decimals)
    return Published(number=number, confidence=confidence)  # type: ignore[arg-type]


def small(*, profile: str = "paper", rows: int = 3) -> TableModel:
    """Reproduced, indicative and missing cells, claims of each kind, curves and maps."""
    differs = "" if profile == "paper" else "another data set"
    found = [_row(index, differs) for index in range(rows)]
    return TableModel(
        table="demo/table1",
        profile=profile,
        title="A paper about masking",
        arxiv="2302.10494",
        number="1",
        caption="Students and teachers",
        note="A note.\n\nAnother note with `code`.",
        profile_difference=differs,
        seeds=(0, 1, 2),
        columns=(ACC, PFLOPS, SPEED),
        rows=tuple(found),
        claims=_claims(),
        curves=tuple(
            Curve(
                row=row.id,
                seed=seed,
                metric=metric,
                epochs=(0.5, 1.0, 1.5, 2.0),
                values=tuple(10.0 * step + seed for step in range(4)),
            )
            for row in found
            for seed in (0, 1)
            for metric in ("val/top1", "loss/total")
        ),
        runs=tuple(_run(row.id, index) for index, row in enumerate(found)),
        figures=(TEACHER_COST, KEPT_PATCHES, HEADS),
        provenance=Provenance(
            environments=(
                Environment(runs=9, facts=(("Commit", "abc"), ("Computed on", "a CPU"))),
            ),
            finished=9,
            seconds=600.0,
            latest="2024-01-01 12:00 UTC",
        ),
    )


def _run(row: str, index: int) -> FinishedRun:
    """What it costs, and what it has kept after each epoch where it is masked."""
    kept = [(i + 1) / 17 for i in range(16)]
    records = tuple({"epoch": epoch, "kept": kept} for epoch in (1.0, 2.0)) if index else ()
    return FinishedRun(row=row, seed=0, metrics={"teacher/gmacs": 1.0 + index}, records=records)


def relabelled(row: RowResult, **texts: str) -> RowResult:
    """The row with another id, label or group in its spec."""
    return replace(row, spec=replace(row.spec, **texts))


def retold(result: ClaimResult, text: str) -> ClaimResult:
    """The claim in other words."""
    return replace(result, claim=replace(result.claim, text=text))


def without_figures(model: TableModel) -> TableModel:
    """A model that has little to draw."""
    return replace(model, curves=(), runs=())


@cache
def empty_picture() -> bytes:
    """A PNG file of the width of a page."""
    stream = BytesIO()
    Image.new("1", (1440, 900)).save(stream, format="PNG")
    return stream.getvalue()


def _row(index: int, differs: str) -> RowResult:
    accuracies = ((75.0, 75.05, 74.95), (75.1, 75.2), ())[index % 3]
    masked = index % 3 != 0
    ratio = Ratio(baseline="row0" if masked else "", measured=2.0, published=2.07)
    return RowResult(
        spec=Row(
            id=f"row{index}",
            label=f"+MaskedKD {index}" if masked else f"Logit {index}",
            group=f"Group {index // 3}",
            node=NOWHERE,
        ),
        name=f"Logit +MaskedKD {index}" if masked else f"Logit {index}",
        cells=(
            cell(ACC, printed(75.0), accuracies, lacks="needs ImageNet", differs=differs),
            cell(PFLOPS, printed(1770, 0), (1767.6,), differs=differs),
            cell(SPEED, printed(3702, 0), (800.0,), ratio=ratio, differs=differs),
        ),
    )


def _claims() -> tuple[ClaimResult, ...]:
    def claim(
        name: str, verdict: Verdict, n: int, needed: str = "", source: ClaimSource = "paper"
    ) -> ClaimResult:
        return ClaimResult(
            claim=Claim(
                id=name,
                text=f"The claim {name} holds",
                holds=Comparison.parse("acc[row1] >= acc[row0] - 0.3"),
                added_by_us=source == "ours",
                node=NOWHERE,
            ),
            quantity="Top-1, a − b",
            unit="points",
            decimals=2,
            margin=-0.3,
            n=n,
            estimate=0.1 if n else None,
            ci=Interval(low=-0.1, high=0.3) if n else None,
            verdict=verdict,
            reason=f"because of {name}",
            seeds_needed=needed,
        )

    return (
        claim("first", Verdict.SUPPORTED, 3),
        claim("second", Verdict.CONTRADICTED, 3),
        claim("third", Verdict.NOT_SETTLED, 3, "7"),
        claim("fourth", Verdict.NOT_RUN, 0),
        claim("fifth", Verdict.SUPPORTED, 3, source="ours"),
    )


def hostile() -> TableModel:
    """Every free text is full of characters that mean something to some format."""
    model = small()
    rows = tuple(
        replace(
            relabelled(row, label=f"{HOSTILE}{row.id}", group=HOSTILE), name=f"{HOSTILE}{row.id}"
        )
        for row in model.rows
    )
    claims = tuple(retold(claim, HOSTILE) for claim in model.claims)
    columns = tuple(replace(column, label=HOSTILE) for column in model.columns)
    return replace(
        model,
        rows=rows,
        claims=claims,
        columns=columns,
        caption=HOSTILE,
        note=HOSTILE,
        title=HOSTILE,
    )


def _judged(
    name: str,
    text: str,
    verdict: Verdict,
    estimate: float | None,
    half: float = 0.4,
    *,
    holds: str = "acc[row1] >= acc[row0] - 0.3",
    given: tuple[PreconditionResult, ...] = (),
    source: ClaimSource = "paper",
    failed: tuple[int, ...] = (),
    needed: str = "",
    n: int = 3,
    ratio: bool = False,
) -> ClaimResult:
    """A trained claim with all that is said of one."""
    comparison = Comparison.parse(holds)
    ci = adjusted = None
    if estimate is not None and n > 1:
        ci = Interval(low=estimate - half, high=estimate + half)
        adjusted = Interval(low=estimate - 1.5 * half, high=estimate + 1.5 * half)
    measured = estimate is not None
    return ClaimResult(
        claim=Claim(
            id=name, text=text, holds=comparison, added_by_us=source == "ours", node=NOWHERE
        ),
        quantity="Top-1, a / b" if ratio else "Top-1, a − b",
        unit="×" if ratio else "points",
        decimals=2,
        margin=comparison.factor if ratio else comparison.offset,
        n=n if measured else 0,
        estimate=estimate,
        ci=ci,
        verdict=verdict,
        reason=f"because of {name}",
        seeds_needed=needed,
        seeds_needed_range="4 to 31" if needed else "",
        adjusted=adjusted,
        p=0.012 if measured and n > 1 else None,
        p_adjusted=0.06 if measured and n > 1 else None,
        std=0.36 if measured and n > 1 else None,
        std_moderated=0.52 if measured and n > 1 else None,
        preconditions=given,
        failed_seeds=failed,
        looks=(3, 6) if measured else (),
    )


def given(
    text: str, verdict: Verdict, estimate: float | None, margin: float, unit: str = "×"
) -> PreconditionResult:
    """A precondition with its value, over three seeds."""
    ci = None if estimate is None else Interval(low=estimate - 0.02, high=estimate + 0.02)
    return PreconditionResult(
        text=text,
        quantity="Top-1, half / whole",
        unit=unit,
        decimals=2,
        margin=margin,
        n=0 if estimate is None else 3,
        estimate=estimate,
        ci=ci,
        verdict=verdict,
        reason="because of the teacher",
    )


READS = given(
    "The teacher keeps 90 % of its accuracy on a random half", Verdict.CONTRADICTED, 0.73, 0.9
)
HELPS = given("Distillation helps by more than the margin", Verdict.SUPPORTED, 0.56, 0.3, "points")


def every_verdict(*, profile: str = "fashion-mnist") -> TableModel:
    """Claims in every state, some below preconditions; of two units, the paper's and ours."""
    claims = (
        _judged("supported", "Three quarters of the teacher are as good as the whole one",
                Verdict.SUPPORTED, 0.2, 0.25, given=(HELPS,)),
        _judged("contradicted", "A quarter of the teacher is as good as the whole one, if the "
                "student is trained for as long as the paper trains it", Verdict.CONTRADICTED,
                -1.51, 0.5, given=(HELPS,), failed=(2,), n=2),
        _judged("leaning", "Distillation helps", Verdict.LEANING, 0.8, 0.7, needed="9",
                holds="acc[row1] > acc[row0]"),
        _judged("settled", "The order of patches does not matter", Verdict.NOT_SETTLED, -0.9, 13.0,
                needed="> 100"),
        _judged("one", "Random patches are worse", Verdict.NOT_SETTLED, -0.5, n=1,
                holds="acc[row1] < acc[row0]", needed="3"),
        _judged("scope", "Half of the teacher is enough", Verdict.OUT_OF_SCOPE, -2.5, 0.6,
                given=(READS, HELPS)),
        _judged("failed", "The last block is enough", Verdict.FAILED, None),
        _judged("open", "Longer training helps", Verdict.NOT_RUN, None),
        _judged("share", "Masking keeps 98 % of the accuracy", Verdict.SUPPORTED, 1.01, 0.02,
                holds="acc[row1] >= 0.98 * acc[row0]", ratio=True),
        _judged("ours", "Hard augmentation helps as much as distillation does",
                Verdict.CONTRADICTED, 1.4, 0.3, holds="acc[row1] <= acc[row0] + 0.5",
                source="ours"),
    )  # fmt: skip
    computed = retold(small().claims[0], "Half of the patches cost half")
    cost = replace(
        computed,
        claim=replace(computed.claim, id="cost", holds=Comparison.parse("pflops[row1] < 2000")),
        unit="PFLOPs",
        n=1,
        estimate=1767.6,
        margin=2000.0,
        ci=Interval(low=1767.6, high=1767.6),
    )
    untested = tuple(
        Untested(
            claim=replace(computed.claim, id=f"far{index}", text=f"Far patches help, {index}"),
            missing_rows=("row7",),
        )
        for index in range(40)
    )
    return replace(
        small(profile=profile),
        short="MaskedKD",
        number="2",
        claims=(*claims, cost),
        untested=untested,
        data="Fashion-MNIST",
        paper_data="ImageNet-1k",
        seeds=(0, 1, 2, 3),
    )
