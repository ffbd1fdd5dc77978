"""What rows of MaskedKD's Table 2 cost; its printed cells are in `tests/test_papers.py`."""

from __future__ import annotations

import pytest

from harness.run import Resources
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.tasks.cost import CostRun
from harness.tasks.throughput import ThroughputRun

TABLE = load_table("maskedkd/table2")


class Nothing:
    """The context of a run that needs nothing of it."""

    resources = Resources(device="cpu")


def test_operations_are_those_of_table_10() -> None:
    rows = {resolved.row.id: resolved.config for resolved in expand(TABLE, "paper").rows}
    expected = {
        "deit_s.deit_b.logit": (0.7, 5.6, 11.2),
        "deit_s.deit_b.logit.keep50": (0.2, 2.8, 5.6),
    }
    for row, (attention, projections, mlp) in expected.items():
        config = rows[row]
        run = CostRun.of(config)
        assert run is not None
        found = run.execute(Nothing())  # type: ignore[arg-type]
        assert found["teacher/attention_gmacs"] == pytest.approx(attention, abs=0.05)
        assert found["teacher/projections_gmacs"] == pytest.approx(projections, abs=0.05)
        assert found["teacher/mlp_gmacs"] == pytest.approx(mlp, abs=0.05)


def test_rows_without_a_teacher_cost_nothing() -> None:
    config = next(
        resolved.config
        for resolved in expand(TABLE, "paper").rows
        if resolved.row.id == "deit_ti.none"
    )
    assert CostRun.of(config) is None
    assert ThroughputRun.of(config) is None


def test_students_of_the_paper_have_its_drop_path() -> None:
    """Two methods have their own, none: Hao840/manifold-distillation's command, G2SD's SD.sh."""
    for resolved in expand(TABLE, "paper").rows:
        if not resolved.row.published:
            continue
        own = "manifold" in resolved.row.id or "g2sd" in resolved.row.id
        assert resolved.config.student.drop_path == (0.0 if own else 0.1), resolved.row.id


def test_throughput_and_memory_are_measured() -> None:
    rows = {resolved.row.id: resolved.config for resolved in expand(TABLE, "fashion-mnist").rows}
    found = {}
    for name in ("deit_ti.deit_s.logit", "deit_ti.deit_s.logit.keep50"):
        config = rows[name]
        run = ThroughputRun.of(config)
        assert run is not None
        found[name] = run.execute(Nothing())  # type: ignore[arg-type]
        # how fast is for benchmarks/, not for tests; that the three figures agree is for here
        ratio = found[name]["teacher/throughput"] / found[name]["teacher/full_throughput"]
        assert found[name]["teacher/speedup"] == pytest.approx(ratio, rel=0.5)
    full, half = (metrics["teacher/peak_mb"] for metrics in found.values())
    # the widest tensors are the MLP's: 9 of 17 tokens, and the images stay as they are
    assert half < 0.6 * full
