"""YOLOS against an independent float64 reference: its tokens in the authors' order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.data.config import DataConfig
from harness.errors import FieldError
from harness.evaluate.flops import counted_macs
from harness.methods.dino import Dino
from harness.methods.supervised import Supervised
from harness.models.build import save_model
from harness.models.config import ModelConfig, Weights
from harness.models.cost import efficient_macs, published_macs
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import VisionTransformer
from harness.spec.identity import identity
from harness.tasks.train import TrainRun
from harness.train.config import Augment, Recipe, TrainConfig
from tests.models.networks import build, shake
from tests.models.reference import Reference

SMALL = ModelConfig(
    arch="yolos", image_size=32, patch_size=8, width=24, depth=3, heads=4, detection_tokens=5
)
CLASSES = 7
PLAIN = Recipe(epochs=1, batch_size=4, lr=0.1, augment=Augment(crop="none"))


def small() -> VisionTransformer:
    """With weights far from their initial values, so that every one matters."""
    return shake(build(SMALL, CLASSES), 0.3).eval()


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(2))


class YolosReference(Reference):
    """Class token, patches, and detection tokens at the end, one image at a time."""

    def found(self, image: Tensor, keep: list[int]) -> dict[str, Tensor]:
        """Everything, of one image."""
        tokens, attention = self._blocks(image.double(), keep)
        normed = self._norm(tokens, "norm")
        patches, detections = normed[1 : 1 + len(keep)], normed[1 + len(keep) :]
        rows = attention[:, 1 + len(keep) :, 1 : 1 + len(keep)]
        return {
            "logits": self._head(detections, "classes"),
            "boxes": 1 / (1 + (-self._head(detections, "boxes")).exp()),
            "patches": patches,
            "detections": detections,
            "attention": rows.mean(dim=(0, 1)),
            "cls": attention[:, 0, 1 : 1 + len(keep)].mean(dim=0),
        }

    def _head(self, x: Tensor, name: str) -> Tensor:
        for layer in (0, 2):
            x = self._linear(x, f"head.{name}.{layer}").clamp(min=0)
        return self._linear(x, f"head.{name}.4")

    def _tokens(self, image: Tensor, keep: list[int] | None) -> Tensor:
        position = self._w("pos_embed")[0]
        tokens = self._w("reg_token")[0]
        count, p = len(tokens), self.patch
        kernel = self._w("patch_embed.proj.weight").flatten(1)
        bias = self._w("patch_embed.proj.bias")
        columns = image.shape[2] // p
        patches = []
        for index in keep or ():
            y, x = index // columns * p, index % columns * p
            value = kernel @ image[:, y : y + p, x : x + p].flatten() + bias
            patches.append(value + position[1 + count + index])
        cls = self._w("cls_token")[0, 0] + position[0]
        return torch.stack([cls, *patches, *(tokens + position[1 : 1 + count])])


@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize("queries", ["detections", "cls"])
@pytest.mark.parametrize("whole", [True, False])
def test_forward_equals_the_float64_reference(efficient: bool, queries: str, whole: bool) -> None:
    model = small()
    reference = YolosReference(model.vit.state_dict(), heads=4, depth=3, patch=8)
    keep = torch.stack([torch.randperm(16)[:6].sort().values for _ in range(3)])
    if whole:
        keep = torch.arange(16).expand(3, -1)
    for patches in (True, False):  # with them, the whole last block is run
        request = ForwardRequest(patches=patches, saliency=Saliency(queries=queries))  # type: ignore[arg-type]
        found = model(images(), keep=None if whole else keep, outputs=request, efficient=efficient)
        for at, image in enumerate(images()):
            expected = reference.found(image, keep[at].tolist())
            near = {"rtol": 1e-4, "atol": 1e-4}
            torch.testing.assert_close(found.logits[at].double(), expected["logits"], **near)
            torch.testing.assert_close(found.boxes[at].double(), expected["boxes"], **near)
            torch.testing.assert_close(
                found.detections[at].double(), expected["detections"], **near
            )
            scores = expected["cls" if queries == "cls" else "attention"]
            torch.testing.assert_close(found.saliency[at].double(), scores, **near)
            if patches:
                torch.testing.assert_close(found.patches[at].double(), expected["patches"], **near)
            else:
                assert found.patches is None


def test_boxes_of_a_pass_in_16_bits_are_finer_than_pixels() -> None:
    """Between a half and 1 numbers of bf16 are 1/256 apart: two pixels of 512."""
    model = small()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images())
        given = model.vit.head["boxes"](output.detections)
    assert (given.dtype, output.boxes.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(output.boxes, given.float().sigmoid())


def test_keeping_every_patch_is_not_masking() -> None:
    model = small()
    request = ForwardRequest(patches=True)
    keep = torch.stack([torch.randperm(16) for _ in range(3)])
    whole = model(images(), outputs=request)
    masked = model(images(), keep=keep, outputs=request)
    for name in ("logits", "boxes", "detections"):
        torch.testing.assert_close(getattr(masked, name), getattr(whole, name), rtol=0, atol=1e-5)
    there = keep[..., None].expand(-1, -1, 24)
    torch.testing.assert_close(masked.patches, whole.patches.gather(1, there), rtol=0, atol=1e-5)


def test_saliency_without_a_pass_to_the_end_is_the_same() -> None:
    model = small()
    for queries in ("cls", "detections", "patches"):
        saliency = Saliency(queries=queries)  # type: ignore[arg-type]
        found = model(images(), outputs=ForwardRequest(saliency=saliency)).saliency
        torch.testing.assert_close(model.saliency(images(), saliency), found)


@pytest.mark.parametrize("arch", ["yolos_tiny", "yolos_small", "yolos_base"])
def test_the_counter_equals_the_closed_form(arch: str) -> None:
    shape = ModelConfig(arch=arch).shape
    assert (shape.patches, shape.detection_tokens, shape.prefix_tokens) == (1024, 100, 101)
    with torch.device("meta"):
        model = build(ModelConfig(arch=arch), 20)
    for keep in (1024, 512):
        for efficient, closed in ((True, efficient_macs), (False, published_macs)):
            counted = counted_macs(model, keep=keep, efficient=efficient)
            assert counted == closed(shape, keep=keep, classes=20).total


def test_a_classifier_becomes_a_detector(tmp_path: Path) -> None:
    """Everything is carried over but the classifier; detection tokens are new."""
    path = tmp_path / "model.safetensors"
    plain = ModelConfig(arch="vit", image_size=16, patch_size=8, width=24, depth=3, heads=4)
    classifier = build(plain, 10, seed=3)
    save_model(classifier, path)
    start = replace(SMALL, weights=Weights(file=str(path), head="new"))
    model = build(start, CLASSES)
    before, after = classifier.vit.state_dict(), model.vit.state_dict()
    for name in before.keys() - {"pos_embed", "head.weight", "head.bias"}:
        assert torch.equal(before[name], after[name])
    assert torch.equal(after["pos_embed"][:, :1], before["pos_embed"][:, :1])
    assert after["pos_embed"].shape == (1, 1 + 5 + 16, 24)
    assert after["pos_embed"][:, 1:6].std() == pytest.approx(0.02, rel=0.3)
    save_model(model, path)
    own = replace(SMALL, weights=Weights(file=str(path)))
    again = build(own, CLASSES)
    for name, value in again.vit.state_dict().items():
        assert torch.equal(value, after[name])


def test_detection_tokens_are_an_option_of_yolos() -> None:
    with pytest.raises(FieldError, match="'deit_tiny_patch16_224' is none: leave it out"):
        ModelConfig(arch="deit_tiny_patch16_224", detection_tokens=3)


def test_the_number_of_detection_tokens_is_part_of_the_identity() -> None:
    def key(tokens: int | None) -> str:
        train = TrainConfig(
            data=DataConfig(name="canvases", version="x"),
            student=replace(SMALL, detection_tokens=tokens),
            method=Supervised(),
            recipe=PLAIN,
        )
        return identity("train", TrainRun(train=train))

    assert len({key(5), key(6), key(None)}) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": DataConfig(name="fashion-mnist")}, "'fashion-mnist' has classes of its images"),
        (
            {"method": Dino(), "recipe": replace(PLAIN, augment=Augment())},
            "does not train networks",
        ),
        ({"student": replace(SMALL, arch="vit", detection_tokens=None)}, "'vit' learns classes:"),
        ({"recipe": replace(PLAIN, augment=Augment(mixup=0.8))}, "is not for images with boxes"),
    ],
)
def test_what_does_not_go_with_boxes_is_said(changes: dict[str, Any], words: str) -> None:
    fitting = {
        "data": DataConfig(name="canvases"),
        "student": SMALL,
        "method": Supervised(),
        "recipe": PLAIN,
    }
    with pytest.raises(FieldError, match=words):
        TrainConfig(**{**fitting, **changes})
