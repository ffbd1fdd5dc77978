"""Table models built by hand: small ones with many verdicts, and one with hostile labels."""

from __future__ import annotations

from dataclasses import replace

from harness.report.model import (
    Cell,
    Claim,
    Column,
    Cost,
    Curve,
    Environment,
    Judgement,
    KeptMap,
    Provenance,
    Ratio,
    Row,
    Source,
    TableModel,
    Verdict,
)
from harness.report.statistics import Interval, summarise
from harness.report.verdicts import Facts, judge_cell
from harness.spec.table import Printed, Published, Tolerance

ACC = Column(
    id="acc",
    label="Top-1",
    metric="val/top1",
    unit="%",
    better="higher",
    tolerance=Tolerance(value=0.3),
)
PFLOPS = Column(
    id="pflops",
    label="Teacher PFLOPs",
    metric="teacher/train_pmacs",
    unit="PFLOPs",
    decimals=0,
    better="lower",
    tolerance=Tolerance(value=0.005, relative=True),
    evidence="exact",
)
SPEED = Column(
    id="speed",
    label="Teacher img/s",
    metric="teacher/throughput",
    unit="img/s",
    decimals=0,
    better="higher",
    tolerance=Tolerance(value=0.1, relative=True),
    ratio=True,
    evidence="timing",
)
HOSTILE = r'50% <b>&amp;|`x`| $_{1}^2$ \textbf{x} #[a](b) * ~ "q" λ ≥ ± "'


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
    facts = Facts(
        column=column,
        published=published,
        summary=summarise(values),
        wanted=len(values) or 1,
        lacks=lacks,
        ratio=ratio,
        differs=differs,
    )
    return Cell(
        column=column.id,
        published=published,
        values=tuple(enumerate(values)),
        summary=facts.summary,
        ratio=ratio,
        judgement=judge_cell(facts),
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
        says=differs,
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
        kept=tuple(
            KeptMap(row=row.id, epoch=epoch, shares=tuple((i + 1) / 17 for i in range(16)))
            for row in found[1:]
            for epoch in (1.0, 2.0)
        ),
        costs=tuple(
            Cost(row=row.id, macs_per_image=1.0 + i, training=1.0) for i, row in enumerate(found)
        ),
        provenance=Provenance(
            environments=(
                Environment(runs=9, facts=(("Commit", "abc"), ("Computed on", "a CPU"))),
            ),
            finished=9,
            seconds=600.0,
            latest="2024-01-01 12:00 UTC",
        ),
    )


def _row(index: int, differs: str) -> Row:
    accuracies = ((75.0, 75.05, 74.95), (75.1, 75.2), ())[index % 3]
    masked = index % 3 != 0
    ratio = Ratio(baseline="row0" if masked else "", measured=2.0, published=2.07)
    return Row(
        id=f"row{index}",
        label=f"+MaskedKD {index}" if masked else f"Logit {index}",
        name=f"Logit +MaskedKD {index}" if masked else f"Logit {index}",
        group=f"Group {index // 3}",
        student="tiny",
        keep=8 if masked else 16,
        patches=16,
        cells=(
            cell(ACC, printed(75.0), accuracies, lacks="needs ImageNet", differs=differs),
            cell(PFLOPS, printed(1770, 0), (1767.6,), differs=differs),
            cell(SPEED, printed(3702, 0), (800.0,), ratio=ratio, differs=differs),
        ),
    )


def _claims() -> tuple[Claim, ...]:
    def claim(
        name: str, verdict: Verdict, n: int, needed: str = "", source: Source = "paper"
    ) -> Claim:
        return Claim(
            id=name,
            says=f"The claim {name} holds",
            check="acc[row1] >= acc[row0] - 0.3",
            operator=">=",
            quantity="Top-1, a − b",
            unit="points",
            decimals=2,
            margin=-0.3,
            n=n,
            estimate=0.1 if n else None,
            ci=Interval(low=-0.1, high=0.3) if n else None,
            judgement=Judgement(verdict=verdict, reason=f"because of {name}"),
            seeds_needed=needed,
            source=source,
        )

    return (
        claim("first", Verdict.SUPPORTED, 3),
        claim("second", Verdict.CONTRADICTED, 3),
        claim("third", Verdict.INCONCLUSIVE, 3, "7"),
        claim("fourth", Verdict.NOT_RUN, 0),
        claim("fifth", Verdict.SUPPORTED, 3, source="ours"),
    )


def hostile() -> TableModel:
    """Every free text is full of characters that mean something to some format."""
    model = small()
    rows = tuple(
        replace(row, label=f"{HOSTILE}{row.id}", name=f"{HOSTILE}{row.id}", group=HOSTILE)
        for row in model.rows
    )
    claims = tuple(replace(claim, says=HOSTILE) for claim in model.claims)
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
