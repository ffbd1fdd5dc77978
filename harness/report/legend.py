"""What each verdict means, for the reader of a report."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.format import judged_by_ratio, listed
from harness.report.inference import CONFIDENCE_TEXT, LEVEL, STAGES
from harness.report.model import Verdict
from harness.spec.table import Column

LEGEND = {
    Verdict.REPRODUCED: (
        "within the column's tolerance of the printed number (never tighter than half of its last "
        "digit); with 3 seeds or "
        "more, shown to be equivalent by two one-sided tests (TOST) at 5 %. Computed quantities "
        "need no test."
    ),
    Verdict.MISPRINT: (
        "the printed number is a misprint by the paper's own arithmetic; the value is within the "
        "tolerance of what was meant."
    ),
    Verdict.INDICATIVE: (
        "measured, but too few seeds or too much scatter to show that the mean is within the "
        "tolerance, or outside of it."
    ),
    Verdict.ABOVE: (
        "the measured mean is above the printed number beyond the tolerance, and so is its whole "
        "95 % confidence interval, where seeds scatter."
    ),
    Verdict.BELOW: (
        "the measured mean is below the printed number beyond the tolerance, and so is its whole "
        "95 % confidence interval, where seeds scatter."
    ),
    Verdict.NOT_COMPARABLE: (
        "measured, but not to be held against a printed number: another recipe or data set, a "
        "speed on other hardware, or "
        "the paper prints nothing here."
    ),
    Verdict.MISSING: "not measured; the report says what it needs.",
    Verdict.FAILED: "every run of the cell, or of one side of the claim, ended in an error; the "
    "report quotes it.",
    Verdict.SUPPORTED: (
        "the whole adjusted confidence interval lies on the claimed side of the margin. Computed "
        "claims are judged by their value, timed ones by theirs give or take 5 %."
    ),
    Verdict.CONTRADICTED: (
        "the whole adjusted confidence interval lies on the other side of the margin; of computed "
        "and timed claims, the value."
    ),
    Verdict.NOT_SETTLED: (
        "measured, and the interval of this claim alone reaches across the margin, or there is "
        "none; or a precondition, or the gain that could be lost, is not shown here; or it would "
        "not hold if failed seeds had ended at their row's worst."
    ),
    Verdict.LEANING: (
        "measured, and nearly settled: the interval of this claim alone lies on one side of the "
        "margin, the adjusted one reaches across it."
    ),
    Verdict.OUT_OF_SCOPE: (
        "measured or not, and not judged: a precondition of the claim does not hold at this "
        "profile, so its comparison does not mean here what it means in the paper; the report "
        "names the precondition, what was measured and what is needed. In a smoke test "
        "all claims are out of scope."
    ),
    Verdict.NOT_RUN: "not measured: runs of the claim are missing; the report says what they need.",
}

INTERVALS = (
    f"claims are judged with {listed([str(n) for n in STAGES])} seeds. Each of these looks errs in "
    f"{100 * LEVEL:.2f} % of cases, all of them together in about 5 %; hence intervals at "
    f"{CONFIDENCE_TEXT}, two-sided; where two rows are compared, by Student's t of the differences "
    "seed by seed. The adjusted ones allow, by Holm's method, for the number of trained claims of "
    "the paper in the table, or of our own checks. Intervals of single cells are at 95 %."
)
"""How the intervals of claims are made."""


def meaning(verdict: Verdict, columns: Sequence[Column]) -> str:
    """What `verdict` means in a table of these columns."""
    text = LEGEND[verdict]
    compared = judged_by_ratio(columns)
    if verdict is not Verdict.REPRODUCED or not compared:
        return text
    ratios = " and ".join(f"{what} are judged by their ratio to the {to}" for to, what in compared)
    return f"{text.removesuffix('.')}; {ratios}."
