"""What a training step of the student costs, and what choosing patches costs: closed forms held
against torch's counter.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.models.build import build_bare
from harness.models.config import ModelConfig
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import VisionTransformer
from harness.run import Resources
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.tasks.cost import CostRun


class Nothing:
    """The context of a run that needs nothing of it."""

    resources = Resources(device="cpu")


def run_of(table: str, row: str, profile: str = "paper") -> CostRun:
    config = expand(load_table(table), profile, rows=row).rows[0].config
    assert config is not None
    run = CostRun.of(config)
    assert run is not None
    return run


def costs(table: str, row: str, profile: str = "paper") -> dict[str, float]:
    return run_of(table, row, profile).execute(Nothing())  # type: ignore[arg-type]


def counted(model: VisionTransformer, outputs: ForwardRequest, *, back: bool = False) -> int:
    """Multiply-adds of a pass over one image, with attention as two matrix products."""
    shape = (1, 3, *model.vit.patch_embed.img_size)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits = model(torch.empty(shape, device="meta"), outputs=outputs, efficient=False).logits
        if back:
            logits.sum().backward()
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize(
    "row", ["deit_ti.deit_s.logit", "deit_b.deit3_l.logit.keep50", "mae_l.deit3_h.logit"]
)
def test_a_students_step_is_what_torch_counts_forward_and_backward(row: str) -> None:
    run = run_of("maskedkd/table2", row)
    student = build_bare(run.student, classes=1000, device="meta").train()
    found = run.execute(Nothing())  # type: ignore[arg-type]
    step = counted(student, ForwardRequest(), back=True)
    assert found["student/train_gmacs"] == pytest.approx(step / 1e9, rel=1e-12)
    ratio = found["teacher/gmacs"] / (step / 1e9)
    assert found["supervision_ratio"] == pytest.approx(ratio, rel=1e-12)


def test_a_student_that_sees_a_part_costs_a_part() -> None:
    part = costs("maskedkd/fig6", "student.keep100")
    whole = costs("maskedkd/fig6", "student.keep196")
    n, d, depth, head, embedding = 101, 192, 12, 192 * 1000, 196 * 768 * 192
    once = depth * (12 * n * d * d + 2 * n * n * d) + head + embedding
    assert part["student/train_gmacs"] == pytest.approx((3 * once - embedding) / 1e9, rel=1e-12)
    assert whole["student/train_gmacs"] > 1.9 * part["student/train_gmacs"]


def test_choosing_averages_heads_and_runs_nothing() -> None:
    for row, heads in (("b.keep50", 3), ("s384.keep50", 3)):
        found = costs("maskedkd/table10", row)
        patches = run_of("maskedkd/table10", row).student.shape.patches
        assert found["choice/kflops"] == pytest.approx(patches * heads / 1e3)
        assert found["choice/gmacs"] == 0
    assert costs("maskedkd/table10", "b.full")["choice/kflops"] == 0
    assert costs("maskedkd/table10", "g.keep50")["choice/kflops"] == pytest.approx(4.096)


def test_a_network_that_only_chooses_costs_its_pass() -> None:
    for row in ("teacher", "dino"):
        run = run_of("maskedkd/fig3", row)
        assert run.chooser is not None
        model = build_bare(run.chooser, classes=0, device="meta")
        found = run.execute(Nothing())  # type: ignore[arg-type]
        passed = counted(model, ForwardRequest()) / 1e9
        assert found["choice/gmacs"] == pytest.approx(passed, rel=1e-12), row
    for row in ("student", "random"):
        assert costs("maskedkd/fig3", row)["choice/gmacs"] == 0


def test_a_network_that_only_chooses_runs_no_decoder() -> None:
    run = replace(run_of("maskedkd/table12-segmentation", "keep75"), own_pass=True)
    n, d = 1025, 192
    encoder = 12 * (12 * n * d * d + 2 * n * n * d) + 1024 * 768 * d
    assert run._choice()["choice/gmacs"] == pytest.approx(encoder / 1e9, rel=1e-12)


def test_every_detection_token_is_asked() -> None:
    run = run_of("maskedkd/table12-detection", "tokens.keep50")
    assert run._choice()["choice/kflops"] == pytest.approx(100 * 1024 * 3 / 1e3)


def test_attention_that_is_written_out_is_there_already() -> None:
    """AttMask's "zero additional cost"; with fused attention one row is computed again."""
    model = build_bare(ModelConfig(arch="vit_small_patch16_224"), classes=0, device="meta")
    saliency = Saliency()
    fused = ForwardRequest(patches=True)
    written = ForwardRequest(patches=True, maps=True)
    assert counted(model, written) == counted(model, fused)
    assert costs("attmask/strategies", "high")["choice/gmacs"] == 0
    again = counted(model, ForwardRequest(patches=True, saliency=saliency)) - counted(model, fused)
    n, d = 197, 384
    assert again == n * d * d + d * d + n * d
    assert again / counted(model, fused) == pytest.approx(0.0064, abs=2e-4)


def test_vit_g_is_the_published_shape() -> None:
    """1,843 million parameters (arXiv 2106.04560, Table 2)."""
    config = ModelConfig(arch="vit_gigantic_patch14_224")
    model = build_bare(config, classes=1000, device="meta")
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(1.843e9, rel=2e-3)
