"""The task `occlusion`: a teacher's accuracy on random patches, against timm's blocks by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.data.config import DataConfig
from harness.data.dataset import Splits
from harness.evaluate.occlusion import random_patches_accuracy
from harness.models.config import ModelConfig
from harness.models.vit import Normalisation
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.tasks.occlusion import OcclusionRun
from tests.models.networks import build
from tests.train.test_loop import Context

TINY = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
BATCH, IMAGES = 500, 1000


def test_the_shipped_teacher_on_random_patches(fashion_mnist: Splits) -> None:
    """Each image's tokens gathered before the blocks, in float64."""
    table = load_table("maskedkd/table2")
    (row,) = expand(table, "fashion-mnist", rows="deit_ti.deit_s.logit", seeds=[0]).rows
    assert row.config.teacher is not None
    seen = Normalisation(mean=(0.2860,), std=(0.3530,))
    model = build(row.config.teacher, 10, channels=1, norm=seen)
    pixels = torch.as_tensor(fashion_mnist.val.images[:IMAGES]).reshape(-1, 1, 28, 28)
    images = ((pixels / 255 - 0.2860) / 0.3530).split(BATCH)
    labels = torch.as_tensor(fashion_mnist.val.labels[:IMAGES]).long().split(BATCH)
    batches = list(zip(images, labels, strict=True))
    model.eval()
    found = {
        keep: random_patches_accuracy(model, batches, 16, keep=None if keep == 16 else keep)
        for keep in (16, 8, 4)
    }
    assert found[16] > found[8] > found[4] > 20
    vit = model.vit.double()
    for keep in (16, 8, 4):
        generator = torch.Generator().manual_seed(0)
        hits = 0
        for batch, of_batch in batches:
            with torch.no_grad():
                tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(batch.double())))
                noise = torch.rand(BATCH, 16, generator=generator)
                chosen = noise.topk(keep, dim=1, largest=False).indices
                kept = tokens[:, 1:][torch.arange(BATCH)[:, None], chosen]
                logits = vit.forward_head(
                    vit.norm(vit.blocks(torch.cat([tokens[:, :1], kept], dim=1)))
                )
            hits += int((logits.argmax(1) == of_batch).sum())
        assert found[keep] == pytest.approx(100 * hits / IMAGES, abs=0.11)  # one image


def test_a_run_gives_every_metric(tmp_path: Path) -> None:
    run = OcclusionRun(model=TINY, data=DataConfig(name="fashion-mnist"), eval_crop=1.0)
    assert run.execute(Context(tmp_path / "run")).keys() == OcclusionRun.metrics()


def test_rows_with_one_teacher_share_one_run_without_a_seed() -> None:
    table = load_table("maskedkd/table2")
    configs = [row.config for row in expand(table, "fashion-mnist").rows]
    runs = [OcclusionRun.of(config) for config in configs]
    assert [run is None for run in runs] == [config.teacher is None for config in configs]
    assert len({run for run in runs if run is not None}) == 1
    assert not OcclusionRun.seeded
    assert OcclusionRun.evidence == "exact"
