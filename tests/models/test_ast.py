"""AST against a slow float64 forward written from arXiv 2104.01778; overlapping patches, positions
for other grids, weights of photographs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor

from harness.errors import FieldError, WeightsError
from harness.evaluate.flops import counted_macs
from harness.masking.attention import SpecialTokensAttention
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.build import freeze, save_model
from harness.models.config import ModelConfig, Weights
from harness.models.cost import efficient_macs, published_macs
from harness.models.families.ast import SpectrogramTransformer, fitted_positions
from harness.models.families.vit import gather_patches
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import VisionTransformer
from tests.models.networks import build, shake
from tests.models.reference import Reference

SHAPE = ModelConfig(
    arch="ast_small",
    image_size=20,
    image_width=33,
    patch_size=8,
    stride=5,
    width=24,
    depth=3,
    heads=4,
)
ROWS, COLUMNS = 3, 6  # (20 - 8) // 5 + 1, (33 - 8) // 5 + 1
DEIT_S = {"embed_dim": 384, "depth": 12, "num_heads": 6}


@dataclass(frozen=True)
class AstReference(Reference):
    """Patches `stride` apart; the mean of both tokens, a norm (eps 1e-5) and a linear layer."""

    stride: int = 5

    def _tokens(self, image: Tensor, keep: list[int] | None) -> Tensor:
        kernel, bias = self._w("patch_embed.proj.weight"), self._w("patch_embed.proj.bias")
        position, p = self._w("pos_embed")[0], self.patch
        tokens = [self._w(name)[0, 0] for name in ("cls_token", "dist_token")]
        for top in range(0, image.shape[1] - p + 1, self.stride):
            for left in range(0, image.shape[2] - p + 1, self.stride):
                pixels = image[:, top : top + p, left : left + p]
                tokens.append((kernel * pixels).sum(dim=(1, 2, 3)) + bias)
        placed = [token + position[i] for i, token in enumerate(tokens)]
        kept = range(len(tokens) - 2) if keep is None else keep
        return torch.stack(placed[:2] + [placed[2 + i] for i in kept])

    def _one(self, image: Tensor, keep: list[int] | None) -> tuple[Tensor, Tensor]:
        tokens, attention = self._blocks(image, keep)
        tokens = self._norm(tokens, "norm")
        mean = (tokens[0] + tokens[1]) / 2
        variance = ((mean - mean.mean()) ** 2).mean()
        normed = (mean - mean.mean()) / (variance + 1e-5).sqrt()
        logits = self._linear(normed * self._w("head.0.weight") + self._w("head.0.bias"), "head.1")
        return logits, attention[:, :2, 2:].mean(dim=0)


def network(config: ModelConfig = SHAPE) -> VisionTransformer:
    """Frozen, with weights far from their initial values."""
    return freeze(shake(build(config, channels=1)))


def sounds(count: int = 3) -> Tensor:
    return torch.randn(count, 1, 20, 33, generator=torch.Generator().manual_seed(2))


def kept(count: int = 3, keep: int = 7) -> Tensor:
    draws = torch.Generator().manual_seed(3)
    every = [torch.randperm(ROWS * COLUMNS, generator=draws) for _ in range(count)]
    return torch.stack([one[:keep].sort().values for one in every])


def slow(model: VisionTransformer) -> AstReference:
    return AstReference(model.vit.state_dict(), heads=4, depth=3, patch=8, prefix=2)


@pytest.mark.parametrize("efficient", [True, False])
def test_it_is_the_float64_forward_full_and_masked(efficient: bool) -> None:
    model, images = network(), sounds()
    assert model.grid == (ROWS, COLUMNS)
    for keep in (None, kept()):
        expected, _ = slow(model).run(images, None if keep is None else keep.tolist())
        found = model(images, keep=keep, efficient=efficient).logits.double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if efficient:
        return  # its softmax is in 32 bits
    exact = model.double()(images.double(), keep=kept(), efficient=False).logits
    torch.testing.assert_close(
        exact, slow(model).run(images, kept().tolist())[0], rtol=1e-10, atol=1e-10
    )


def test_a_teacher_that_keeps_everything_is_the_unmasked_one() -> None:
    model, images = network(), sounds()
    everything = torch.arange(ROWS * COLUMNS).expand(3, -1)
    for efficient in (True, False):
        masked = model(images, keep=everything, efficient=efficient).logits
        torch.testing.assert_close(masked, model(images).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("keep", [None, kept()])
def test_saliency_is_the_class_tokens_row_or_the_mean_of_both(keep: Tensor | None) -> None:
    model, images = network(), sounds()
    rows = slow(model).run(images, None if keep is None else keep.tolist())[1]
    for queries, wanted in (("cls", rows[:, 0]), ("special", rows.mean(dim=1))):
        asked = Saliency(queries=queries)  # type: ignore[arg-type]
        outputs = ForwardRequest(saliency=asked)
        found = model(images, keep=keep, outputs=outputs).saliency
        assert found is not None
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-6)
        if keep is None:
            apart = model.saliency(images, asked)
            torch.testing.assert_close(apart.double(), wanted, rtol=1e-4, atol=1e-6)


def test_the_criterion_of_both_tokens_keeps_what_both_look_at() -> None:
    student, teacher = network(), network()
    method = Distillation(mask=Mask(keep=5, criterion=SpecialTokensAttention()))
    objective = method.build(Networks(student=student, teacher=teacher))
    chosen = objective.choose(sounds(), torch.Generator())
    assert chosen is not None
    scores = slow(student).run(sounds())[1].mean(dim=1)
    best = scores.topk(5, dim=1).indices.sort(dim=1).values
    assert chosen.tolist() == best.tolist()


def test_a_step_of_masked_distillation_reaches_the_student_alone() -> None:
    student, teacher = network(), network()
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    objective = Distillation(mask=Mask(keep=5)).build(Networks(student=student, teacher=teacher))
    batch = Batch(images=sounds(), targets=torch.full((3, 7), 1 / 7))
    losses = objective.losses(batch, Step(index=0, total=1, generator=torch.Generator()))
    losses["total"].backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_patches_that_overlap_are_gathered_as_a_convolution_reads_them() -> None:
    images = torch.randn(2, 3, 19, 26)
    columns = torch.nn.functional.unfold(images, (7, 4), stride=(3, 2)).transpose(1, 2)
    keep = torch.tensor([[0, 5, 47], [11, 12, 59]])
    found = gather_patches(images, keep, (7, 4), (3, 2))
    for image in range(2):
        torch.testing.assert_close(found[image], columns[image, keep[image]], rtol=0, atol=0)


@pytest.mark.parametrize("keep", [18, 7])
@pytest.mark.parametrize("efficient", [True, False])
def test_counter_equals_closed_form(keep: int, efficient: bool) -> None:
    closed = efficient_macs if efficient else published_macs
    counted = counted_macs(network(), keep=keep, efficient=efficient)
    assert counted == closed(SHAPE.shape, keep=keep, classes=7).total


def grid_of(rows: int, columns: int) -> Tensor:
    """Position embeddings whose first number says the row, the second the column."""
    y, x = torch.meshgrid(torch.arange(float(rows)), torch.arange(float(columns)), indexing="ij")
    patches = torch.stack([y.flatten(), x.flatten()], dim=1)
    return torch.cat([torch.full((2, 2), -5.0), patches])[None]


def test_positions_are_cut_from_the_middle_and_interpolated() -> None:
    shape = ModelConfig(arch="ast_small").shape  # 12 x 50
    # of photographs, 14 x 14: rows 1 to 12 are left, columns are stretched
    found = fitted_positions(grid_of(14, 14), shape)
    assert found.shape == (1, 602, 2)
    assert (found[0, :2] == -5).all()
    image = found[0, 2:].reshape(12, 50, 2)
    torch.testing.assert_close(image[:, 0, 0], torch.arange(1.0, 13.0))
    middles = ((torch.arange(50) + 0.5) * 14 / 50 - 0.5).clamp(0, 13)
    torch.testing.assert_close(image[3, :, 1], middles)
    # of clips of ten seconds, 12 x 101: columns 25 to 74 are left
    image = fitted_positions(grid_of(12, 101), shape)[0, 2:].reshape(12, 50, 2)
    torch.testing.assert_close(image[5, :, 1], torch.arange(25.0, 75.0))
    torch.testing.assert_close(image[:, 7, 0], torch.arange(12.0))


def deit() -> Any:
    torch.manual_seed(4)
    return timm.create_model(
        "deit_small_distilled_patch16_224", embed_dim=24, depth=3, num_heads=4, num_classes=1000
    )


SMALL = ModelConfig(
    arch="ast_small", image_size=64, image_width=70, stride=9, width=24, depth=3, heads=4
)


def test_weights_of_photographs_become_those_of_spectrograms(tmp_path: Path) -> None:
    photographs = deit()
    torch.save({"model": photographs.state_dict()}, tmp_path / "deit.pth")
    weights = Weights(file=str(tmp_path / "deit.pth"), head="new")
    config = replace(SMALL, weights=weights)
    model = build(config, channels=1)
    kernel = model.vit.patch_embed.proj.weight
    torch.testing.assert_close(kernel[:, 0], photographs.patch_embed.proj.weight.sum(dim=1))
    torch.testing.assert_close(
        model.vit.blocks[1].attn.qkv.weight, photographs.blocks[1].attn.qkv.weight
    )
    torch.testing.assert_close(
        model.vit.pos_embed, fitted_positions(photographs.pos_embed, SMALL.shape)
    )
    assert model.vit.head[1].weight.shape == (7, 24)
    # what the network sees of a grey spectrogram is what the photographs' sees of it in three
    grey = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(
        model.vit.patch_embed.proj(grey)[0, :, 0, 0],
        photographs.patch_embed.proj(grey.expand(-1, 3, -1, -1))[0, :, 0, 0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_checkpoint_of_the_authors_code_is_read(tmp_path: Path) -> None:
    """`module.v.*` is the network, `module.mlp_head` its classifier, `module.v.head` lies idle."""
    model = build(SMALL, channels=1, seed=5)
    released = {}
    for name, value in model.vit.state_dict().items():
        inside = name.startswith("head.")
        released[f"module.mlp_{name}" if inside else f"module.v.{name}"] = value
    released["module.v.head.weight"] = torch.randn(1000, 24)
    released["module.v.head_dist.bias"] = torch.randn(1000)
    torch.save(released, tmp_path / "ast.pth")
    images = torch.randn(2, 1, 64, 70)
    expected = model.eval()(images).logits
    config = replace(SMALL, weights=Weights(file=str(tmp_path / "ast.pth")))
    again = build(config, channels=1, seed=6)
    torch.testing.assert_close(again.eval()(images).logits, expected, rtol=0, atol=0)


def test_what_it_saves_it_reads(tmp_path: Path) -> None:
    model = network(SMALL)
    save_model(model, tmp_path / "model.safetensors")
    weights = Weights(file=str(tmp_path / "model.safetensors"))
    config = replace(SMALL, weights=weights)
    again = build(config, channels=1)
    images = torch.randn(2, 1, 64, 70)
    torch.testing.assert_close(again.eval()(images).logits, model(images).logits)
    with pytest.raises(WeightsError, match="weights of another model"):
        build(config, 8, channels=1)


def test_fetched_weights_of_photographs_do_too(monkeypatch: pytest.MonkeyPatch) -> None:
    photographs = deit()
    weights = Weights(hub="deit_small_distilled_patch16_224.fb_in1k", head="new")
    # timm fetches by this name; here it gives a small one
    monkeypatch.setattr(timm, "create_model", lambda name, **options: photographs)
    before = photographs.patch_embed.proj.weight
    family = SpectrogramTransformer()
    vit = deit()
    vit.num_classes = 7
    family.complete(vit, SMALL.shape, fetched=True)
    assert vit.head[1].out_features == 7
    torch.testing.assert_close(vit.patch_embed.proj.weight[:, 0], before.sum(dim=1))
    config = ModelConfig(arch="ast_small", weights=weights)
    monkeypatch.setattr(timm, "create_model", lambda name, **options: whole(name, options))
    model = build(config, channels=1)
    assert model.norm_factor is None  # spectrograms are not scaled as photographs
    assert model.vit.pos_embed.shape == (1, 602, 384)


def whole(name: str, options: dict[str, Any]) -> Any:
    """What the hub would give under `name`, with random weights."""
    assert name == "deit_small_distilled_patch16_224.fb_in1k"
    assert options.pop("pretrained")
    return VisionTransformerDistilled(**DEIT_S, num_classes=options["num_classes"])


@pytest.mark.parametrize(
    ("changes", "field", "what"),
    [
        ({"stride": 9}, "stride", "must be at most the patch size 8"),
        ({"patch_size": 21}, "patch_size", "must be at most the smaller side of 20 x 33, got 21"),
        ({"registers": 2}, "registers", "is an option of plain ViTs, and 'ast_small' is none"),
        (
            {"weights": Weights(hub="deit_small_distilled_patch16_224.fb_in1k")},
            "weights",
            "add `head: new`",
        ),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(FieldError, match=what) as raised:
        replace(SHAPE, **changes)
    assert raised.value.field == field


def test_moco_starts_from_waves_of_its_own_grid() -> None:
    model = build(replace(SHAPE, init="moco"), channels=1)
    positions = model.vit.pos_embed[0]
    assert not positions[:2].any()
    for row in range(ROWS):
        for column in range(COLUMNS):
            frequency = 10_000.0 ** -(torch.arange(6) / 6)
            here = positions[2 + row * COLUMNS + column]
            waves = [
                wave(place * frequency)
                for place in (row, column)
                for wave in (torch.sin, torch.cos)
            ]
            found = sorted(here.tolist())
            torch.testing.assert_close(
                torch.tensor(found), torch.cat(waves).sort().values, rtol=1e-4, atol=1e-5
            )
    weight = model.vit.blocks[0].mlp.fc1.weight
    assert float(weight.detach().abs().max()) == pytest.approx(
        (6 / (24 + 96)) ** 0.5, rel=0.02
    )  # Xavier


@pytest.mark.parametrize("key", ["image_width", "stride"])
def test_other_networks_have_no_such_options(key: str) -> None:
    with pytest.raises(FieldError, match="is an option of spectrogram transformers") as raised:
        ModelConfig(arch="deit_tiny_patch16_224", **{key: 16})
    assert raised.value.field == key
