"""Many processes judge by few images: some of them have none, and the numbers are those of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.data.config import DataConfig
from harness.data.multicrop import MultiCrop
from harness.distributed import DistContext
from harness.evaluate.classification import accuracy
from harness.evaluate.features import extract
from harness.methods.dino import Dino
from harness.methods.distillation import Distillation, Mask
from harness.methods.selfdistillation.config import Head
from harness.models.config import ModelConfig
from harness.train.config import Recipe, TrainConfig
from tests.data.conftest import write_images
from tests.models.networks import build
from tests.train.test_loop import vit
from tests.train.test_together import assert_close
from tests.train.together import outcome, train_together

HEAD = Head(out_dim=32, hidden=16, bottleneck=8)
CROPS = MultiCrop(local_crops=1, local_size=14)
PROCESSES = 8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes: 48 images to train on, 24 that judge."""
    root = tmp_path_factory.mktemp("few") / "shapes"
    counts = {
        f"{part}/{name}": size for part, size in (("train", 16), ("val", 8)) for name in "abc"
    }
    write_images(root, counts, size=(28, 28))
    return root


def trainings(pictures: Path) -> dict[str, TrainConfig]:
    """Without labels, and with three classes for student and teacher."""
    data = DataConfig(name="folder", path=str(pictures))
    recipe = Recipe(epochs=1, batch_size=24, lr=1e-3)
    masked = Distillation(mask=Mask(keep=8), teacher_accuracy=True)
    return {
        "dino": TrainConfig(
            data=data, student=vit(), method=Dino(head=HEAD, crops=CROPS), recipe=recipe
        ),
        "distillation": TrainConfig(
            data=data, student=vit(), teacher=vit(24), method=masked, recipe=recipe
        ),
    }


def test_eight_processes_judge_by_24_images(pictures: Path, tmp_path: Path) -> None:
    configs = trainings(pictures)
    found = train_together([(one, None) for one in configs.values()], tmp_path, PROCESSES)
    results = {name: one["result"] for name, one in zip(configs, found, strict=True)}
    for name, training in configs.items():
        assert_close(results[name], outcome(training, tmp_path / name, DistContext())["result"])
    assert results["dino"].keys() == {"features/std", "features/rank"}
    names = {"top1", "loss", "teacher_top1", "teacher_loss"}  # top-5 of three classes says nothing
    shown = {"kept/evenness", "kept/distance"}
    assert results["distillation"].keys() == {f"val/{name}" for name in names} | shown


@pytest.mark.parametrize("classes", [3, 5, 6, 10])
def test_top_5_is_there_where_there_are_more_than_five_classes(classes: int) -> None:
    batches = [
        (torch.zeros(size, 1, 2, 2), torch.zeros(size, dtype=torch.int64)) for size in (4, 1)
    ]
    found = accuracy(lambda images: torch.ones(len(images), classes), batches)
    assert ("top5" in found.metrics) is (classes > 5)


SMALL = {"image_size": 32, "patch_size": 8, "width": 48, "depth": 3, "heads": 4}


@pytest.mark.parametrize(
    ("arch", "shape"),
    [
        ("vit", SMALL),
        ("mae_base_patch16_224", SMALL),
        ("deit_small_distilled_patch16_224", SMALL),
        ("cait_s24_224", SMALL),
        ("convit_base", SMALL),
        ("swin_tiny_patch4_window7_224", {}),
    ],
)
def test_features_of_no_image_are_as_wide_as_those_of_some(
    arch: str, shape: dict[str, int]
) -> None:
    config = ModelConfig(arch=arch, **shape)
    model = build(config)
    side = config.shape.image_size
    some = extract(model, [(torch.zeros(2, 3, side, side), torch.zeros(2, dtype=torch.int64))])
    none = extract(model, [])
    assert none.features.shape == (0, some.features.shape[1])
    assert (none.features.dtype, none.labels.dtype) == (some.features.dtype, some.labels.dtype)
