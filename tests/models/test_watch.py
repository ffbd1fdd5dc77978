"""Nothing that a teacher says is finite by luck: what its passes met is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.errors import RunFailed
from harness.methods.distillation import Distillation, Mask
from harness.methods.merged_teacher import MergedTeacher
from harness.models.build import freeze_watched
from harness.models.families import known_architectures
from harness.models.interface import Saliency
from harness.models.vit import VisionTransformer
from harness.train.loop import _Training
from tests.models.test_teachers import TEACHERS, images, teacher
from tests.train.test_loop import Context, config

KEEP = torch.arange(4).repeat(4, 1)  # few keys: where fused attention swallows what is not finite


def poison(model: VisionTransformer) -> None:
    """NaN in a query of the first block."""
    names = [name for name, _ in model.vit.named_parameters() if ".attn.q" in name]
    with torch.no_grad():
        model.vit.get_parameter(names[0]).view(-1)[0] = float("nan")


@pytest.mark.parametrize("arch", TEACHERS)
def test_a_query_that_is_not_finite_is_seen_in_every_family(arch: str) -> None:
    model = freeze_watched(teacher(arch))
    image = images(4 * model.vit.patch_embed.patch_size[0])
    healthy = teacher(arch)(image, keep=KEEP).logits
    assert torch.equal(model(image, keep=KEEP).logits, healthy)  # watching changes no bit
    assert not model.diverged
    poison(model)
    model(image, keep=KEEP)
    assert model.diverged


def test_fused_attention_alone_would_not_show_it() -> None:
    """The reason for watching queries: on this machine the logits are finite all the same."""
    model = freeze_watched(teacher("deit_small_patch16_224"))
    poison(model)
    logits = model(images(64), keep=KEEP).logits
    if torch.isfinite(logits).all():  # depends on the processor's kernel
        assert model.diverged


def test_merging_passes_and_saliency_are_watched() -> None:
    for use in (
        lambda model: model.merged_logits(images(64), 2),
        lambda model: model.saliency(images(64), Saliency(layer="first")),
    ):
        model = freeze_watched(teacher("deit_small_patch16_224"))
        use(model)
        assert not model.diverged
        poison(model)
        use(model)
        assert model.diverged


def test_another_network_learns_nothing_from_such_a_teacher(tmp_path: Path) -> None:
    assert "vit" in known_architectures()
    for method in (Distillation(mask=Mask(keep=4)), Distillation(), MergedTeacher(merge=2)):
        context = Context(tmp_path / "run")
        training = _Training(config(method), context)
        poison(training.frozen[0])
        with pytest.raises(RunFailed, match="the teacher or saliency model computed numbers"):
            training.run()
        assert not (tmp_path / "run" / "model.safetensors").exists()
        assert not (tmp_path / "run" / "checkpoint.pt").exists()
