"""CaiT, ConViT and Swin against timm's own forward and a slow float64 one; grids and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import FieldError, WeightsError
from harness.methods.dino import Dino
from harness.methods.merged_teacher import MergedTeacher
from harness.models.build import freeze, pool_patches
from harness.models.config import ModelConfig, Weights
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import VisionTransformer
from harness.train.config import Recipe
from tests.models.networks import build, shake
from tests.models.reference import Reference


def shaken(config: ModelConfig, scale: float = 0.3) -> VisionTransformer:
    """A network with weights far from their initial values, so that every one matters."""
    return shake(build(config), scale).eval()


def cait() -> VisionTransformer:
    return shaken(
        ModelConfig(arch="cait_s24_224", image_size=32, patch_size=8, width=48, depth=3, heads=4)
    )


def images(count: int = 4, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))


class CaitReference:
    """CaiT of four heads in float64, from arXiv 2103.17239, one image at a time."""

    def __init__(self, weights: Mapping[str, Tensor], heads: int = 4) -> None:
        self.weights, self.heads = weights, heads

    def run(self, image: Tensor, keep: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Logits (classes,) and the saliency (K,) of either class-attention layer."""
        kernel, bias = self._w("patch_embed.proj.weight"), self._w("patch_embed.proj.bias")
        patches = functional.conv2d(image.double()[None], kernel, bias, stride=8)[0].flatten(1).T
        x = (patches + self._w("pos_embed")[0])[keep]
        for index in range(3):
            x = self._talking(x, f"blocks.{index}")
        cls, saliency = self._w("cls_token")[0], []
        for index in range(2):
            cls, rows = self._class_attention(x, cls, f"blocks_token_only.{index}")
            saliency.append(rows.mean(dim=0)[1:])
        return self._linear(self._norm(cls, "norm"), "head")[0], saliency

    def _w(self, name: str) -> Tensor:
        return self.weights[name].double()

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self._w(f"{name}.weight").T + self._w(f"{name}.bias")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        return x * self._w(f"{name}.weight") + self._w(f"{name}.bias")

    def _split(self, x: Tensor) -> list[Tensor]:
        return list(x.split(x.shape[1] // self.heads, dim=1))

    def _talking(self, x: Tensor, name: str) -> Tensor:
        q, k, v = self._linear(self._norm(x, f"{name}.norm1"), f"{name}.attn.qkv").chunk(3, dim=1)
        size = x.shape[1] // self.heads
        scores = [a @ b.T / size**0.5 for a, b in zip(self._split(q), self._split(k), strict=True)]
        mixed = [
            sum(self._w(f"{name}.attn.proj_l.weight")[i, j] * scores[j] for j in range(self.heads))
            + self._w(f"{name}.attn.proj_l.bias")[i]
            for i in range(self.heads)
        ]
        maps = [scores_i.softmax(dim=1) for scores_i in mixed]
        out = [
            (
                sum(
                    self._w(f"{name}.attn.proj_w.weight")[i, j] * maps[j] for j in range(self.heads)
                )
                + self._w(f"{name}.attn.proj_w.bias")[i]
            )
            @ self._split(v)[i]
            for i in range(self.heads)
        ]
        x = x + self._w(f"{name}.gamma_1") * self._linear(torch.cat(out, 1), f"{name}.attn.proj")
        return x + self._w(f"{name}.gamma_2") * self._mlp(self._norm(x, f"{name}.norm2"), name)

    def _class_attention(self, x: Tensor, cls: Tensor, name: str) -> tuple[Tensor, Tensor]:
        normed = self._norm(torch.cat([cls, x]), f"{name}.norm1")
        q = self._split(self._linear(normed[:1], f"{name}.attn.q"))
        k = self._split(self._linear(normed, f"{name}.attn.k"))
        v = self._split(self._linear(normed, f"{name}.attn.v"))
        rows = [(a @ b.T / a.shape[1] ** 0.5).softmax(dim=1) for a, b in zip(q, k, strict=True)]
        out = torch.cat([row @ value for row, value in zip(rows, v, strict=True)], dim=1)
        cls = cls + self._w(f"{name}.gamma_1") * self._linear(out, f"{name}.attn.proj")
        cls = cls + self._w(f"{name}.gamma_2") * self._mlp(self._norm(cls, f"{name}.norm2"), name)
        return cls, torch.cat(rows)

    def _mlp(self, x: Tensor, name: str) -> Tensor:
        return self._linear(functional.gelu(self._linear(x, f"{name}.mlp.fc1")), f"{name}.mlp.fc2")


class ConvitReference(CaitReference):
    """ConViT of four heads and three blocks in float64, from arXiv 2103.10697, one image at a time.

    Its gate: a head attends by content with weight 1 - sigmoid(lambda), by position with the rest.
    """

    def run(self, image: Tensor, keep: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Logits (classes,) and the saliency (K,) of either block that has the class token."""
        kernel, bias = self._w("patch_embed.proj.weight"), self._w("patch_embed.proj.bias")
        grid = functional.conv2d(image.double()[None], kernel, bias, stride=kernel.shape[-1])[0]
        side = grid.shape[-1]
        x = (grid.flatten(1).T + self._w("pos_embed")[0])[keep]
        x = self._add(x, self._gated(x, [divmod(patch, side) for patch in keep]), "blocks.0")
        x, saliency = torch.cat([self._w("cls_token")[0], x]), []
        for index in (1, 2):
            mixed, rows = self._plain(x, f"blocks.{index}")
            saliency.append(rows.mean(dim=0))
            x = self._add(x, mixed, f"blocks.{index}")
        return self._linear(self._norm(x[:1], "norm"), "head")[0], saliency

    def _linear(self, x: Tensor, name: str) -> Tensor:
        bias = self.weights.get(f"{name}.bias")
        product = x @ self._w(f"{name}.weight").T
        return product if bias is None else product + bias.double()

    def _gated(self, x: Tensor, places: list[tuple[int, int]]) -> Tensor:
        normed = self._norm(x, "blocks.0.norm1")
        q, k = self._linear(normed, "blocks.0.attn.qk").chunk(2, dim=1)
        value = self._split(self._linear(normed, "blocks.0.attn.v"))
        gate = self._w("blocks.0.attn.gating_param").sigmoid()
        mixed = []
        for head, (a, b) in enumerate(zip(self._split(q), self._split(k), strict=True)):
            content = (a @ b.T / a.shape[1] ** 0.5).softmax(dim=1)
            across, down, square = self._w("blocks.0.attn.pos_proj.weight")[head]
            shift = self._w("blocks.0.attn.pos_proj.bias")[head]
            position = torch.zeros_like(content)
            for i, (row, column) in enumerate(places):
                for j, (other_row, other_column) in enumerate(places):
                    dy, dx = other_row - row, other_column - column
                    position[i, j] = across * dx + down * dy + square * (dx**2 + dy**2) + shift
            by_place = position.exp() / position.exp().sum(dim=1, keepdim=True)
            mixed.append(((1 - gate[head]) * content + gate[head] * by_place) @ value[head])
        return torch.cat(mixed, dim=1)

    def _plain(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        q, k, v = self._linear(self._norm(x, f"{name}.norm1"), f"{name}.attn.qkv").chunk(3, dim=1)
        pairs = zip(self._split(q), self._split(k), strict=True)
        maps = [(a @ b.T / a.shape[1] ** 0.5).softmax(dim=1) for a, b in pairs]
        mixed = [weights @ value for weights, value in zip(maps, self._split(v), strict=True)]
        return torch.cat(mixed, dim=1), torch.stack([weights[0, 1:] for weights in maps])

    def _add(self, x: Tensor, mixed: Tensor, name: str) -> Tensor:
        x = x + self._linear(mixed, f"{name}.attn.proj")
        return x + self._mlp(self._norm(x, f"{name}.norm2"), name)


def convit() -> VisionTransformer:
    return shaken(
        ModelConfig(arch="convit_base", image_size=32, patch_size=8, width=48, depth=3, heads=4)
    )


TWO_CLASS_LAYERS = pytest.mark.parametrize(
    ("model", "slow"),
    [(cait(), CaitReference), (convit(), ConvitReference)],
    ids=["cait", "convit"],
)


@pytest.mark.parametrize("efficient", [True, False])
@TWO_CLASS_LAYERS
def test_every_patch_kept_equals_timm(
    model: VisionTransformer, slow: type[CaitReference], efficient: bool
) -> None:
    keep = torch.arange(16).expand(4, -1)
    for kept in (None, keep):
        torch.testing.assert_close(
            model(images(), keep=kept, efficient=efficient).logits,
            model.vit(images()),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("efficient", [True, False])
@TWO_CLASS_LAYERS
def test_a_subset_equals_the_float64_reference(
    model: VisionTransformer, slow: type[CaitReference], efficient: bool
) -> None:
    keep = torch.stack([torch.randperm(16)[:6].sort().values for _ in range(4)])
    reference = slow(model.vit.state_dict())
    runs = [reference.run(image, rows) for image, rows in zip(images(), keep.tolist(), strict=True)]
    for layer in (0, 1):
        outputs = ForwardRequest(saliency=Saliency(layer=str(layer + 1)))
        found = model(images(), keep=keep, outputs=outputs, efficient=efficient)
        logits = torch.stack([logits for logits, _ in runs])
        torch.testing.assert_close(found.logits.double(), logits, rtol=1e-4, atol=1e-4)
        expected = torch.stack([saliency[layer] for _, saliency in runs])
        torch.testing.assert_close(found.saliency.double(), expected, rtol=1e-4, atol=1e-6)


def test_saliency_alone_is_that_of_the_full_forward() -> None:
    for model in (
        cait(),
        convit(),
        shaken(ModelConfig(arch="swin_tiny_patch4_window7_224"), scale=0.02),
    ):
        image = images(2, model.image_size)
        saliency = Saliency(queries="cls" if "cls" in model.family.queries else "patches")
        expected = model(image, outputs=ForwardRequest(saliency=saliency)).saliency
        assert expected.shape == (2, model.patches)
        torch.testing.assert_close(model.saliency(image, saliency), expected)


def test_swin_equals_timm_and_its_saliency_the_float64_attention() -> None:
    model = shaken(ModelConfig(arch="swin_tiny_patch4_window7_224"), scale=0.02)
    image = images(2, 224)
    block = model.vit.layers[-1].blocks[-1]
    seen: list[Tensor] = []
    handle = block.attn.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    expected = model.vit(image)
    handle.remove()
    found = model(image, outputs=ForwardRequest(saliency=Saliency(queries="patches")))
    torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-5)

    attn = block.attn.double()
    qkv = attn.qkv(seen[0].double()).reshape(2, 49, 3, 24, 32)
    index = attn.relative_position_index.flatten()
    bias = attn.relative_position_bias_table[index].reshape(49, 49, 24)
    total = torch.zeros(2, 49, dtype=torch.float64)
    for head in range(24):
        scores = qkv[:, :, 0, head] @ qkv[:, :, 1, head].transpose(1, 2) / 32**0.5
        total += (scores + bias[:, :, head]).softmax(dim=2).mean(dim=1) / 24
    torch.testing.assert_close(found.saliency.double(), total.detach(), rtol=1e-4, atol=1e-7)


def test_swin_keeps_its_dimensions() -> None:
    with pytest.raises(FieldError, match="cannot be changed"):
        ModelConfig(arch="swin_tiny_patch4_window7_224", width=192)


@pytest.mark.parametrize("arch", ["deit_tiny_patch16_224", "deit_small_distilled_patch16_224"])
@pytest.mark.parametrize("efficient", [True, False])
@pytest.mark.parametrize("layer", ["first", "2", "last"])
@pytest.mark.parametrize("queries", ["cls", "patches"])
def test_any_layer_and_query_equals_the_float64_reference(
    arch: str, efficient: bool, layer: str, queries: str
) -> None:
    model = shaken(ModelConfig(arch=arch, image_size=32, patch_size=8, width=48, depth=3, heads=4))
    prefix = model.prefix
    depth = {"first": 1, "2": 2, "last": 3}[layer]
    reference = Reference(model.vit.state_dict(), heads=4, depth=depth, patch=8, prefix=prefix)
    rows = slice(0, 1) if queries == "cls" else slice(prefix, None)
    expected = torch.stack(
        [attention[:, rows, prefix:].mean(dim=(0, 1)) for attention in reference.maps(images())]
    )
    saliency = Saliency(layer=layer, queries=queries)  # type: ignore[arg-type]
    found = model(images(), outputs=ForwardRequest(saliency=saliency), efficient=efficient)
    torch.testing.assert_close(found.saliency.double(), expected, rtol=1e-4, atol=1e-6)
    assert not found.saliency.requires_grad
    torch.testing.assert_close(found.logits, model.vit(images()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.saliency(images(), saliency), found.saliency)


def test_layers_are_counted_as_the_paper_counts_them() -> None:
    assert [Saliency(layer=layer).index(12) for layer in ("first", "middle", "last", "7")] == [
        0,
        5,
        11,
        6,
    ]
    with pytest.raises(FieldError, match="at most 12"):
        Saliency(layer="13").index(12)
    with pytest.raises(FieldError, match="got 'penultimate'"):
        Saliency(layer="penultimate")


def test_tokens_and_maps_are_those_of_the_float64_reference() -> None:
    model = shaken(
        ModelConfig(
            arch="deit_small_distilled_patch16_224",
            image_size=32, patch_size=8, width=48, depth=3, heads=4,
        )
    )  # fmt: skip
    keep = torch.tensor([[1, 4, 9]] * 4)
    found = model(images(), keep=keep, outputs=ForwardRequest(tokens=True, maps=True))
    assert (len(found.tokens), len(found.maps)) == (3, 3)
    reference = Reference(model.vit.state_dict(), heads=4, depth=3, patch=8, prefix=2)
    torch.testing.assert_close(
        found.logits.double(), reference.run(images(), keep.tolist())[0], rtol=1e-4, atol=1e-4
    )
    wanted = [0, 2, 3, 4]  # CLS and the patches, without DIST
    for depth in (1, 2, 3):
        part = Reference(model.vit.state_dict(), heads=4, depth=depth, patch=8, prefix=2)
        maps = torch.stack(
            [a.mean(dim=0)[wanted][:, wanted] for a in part.maps(images(), keep.tolist())]
        )
        torch.testing.assert_close(found.maps[depth - 1].double(), maps, rtol=1e-4, atol=1e-6)
        tokens = torch.stack(part.tokens(images(), keep.tolist()))[:, 2:]
        torch.testing.assert_close(found.tokens[depth - 1].double(), tokens, rtol=1e-4, atol=1e-4)


MAE = ModelConfig(
    arch="mae_base_patch16_224", image_size=32, patch_size=8, width=48, depth=3, heads=4
)


def test_mean_pooling_is_timms_and_saliency_and_tokens_change_nothing() -> None:
    model = shaken(MAE)
    theirs = timm.create_model(
        "vit_base_patch16_224", img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=4,
        num_classes=7, global_pool="avg",
    ).eval()  # fmt: skip
    theirs.load_state_dict(model.vit.state_dict())
    keep = torch.tensor([[1, 4, 9]] * 4)
    for kept in (None, keep):
        logits = model(images(), keep=kept).logits
        for outputs in (
            ForwardRequest(saliency=Saliency()),
            ForwardRequest(tokens=True, maps=True),
        ):
            found = model(images(), keep=kept, outputs=outputs)
            torch.testing.assert_close(found.logits, logits, rtol=1e-5, atol=1e-5)
        if kept is None:
            torch.testing.assert_close(logits, theirs(images()), rtol=1e-5, atol=1e-5)
    reference = Reference(model.vit.state_dict(), heads=4, depth=3, patch=8)
    expected, saliency = reference.run(images(), keep.tolist())
    found = model(images(), keep=keep, outputs=ForwardRequest(saliency=Saliency()))
    torch.testing.assert_close(found.logits.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.saliency.double(), saliency, rtol=1e-4, atol=1e-6)


def test_pretrained_weights_get_a_new_norm_after_the_mean() -> None:
    """What is left of them is the encoder, as when MAE starts fine-tuning."""
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}
    before = timm.create_model("vit_base_patch16_224", num_classes=7, **options)
    after = timm.create_model("vit_base_patch16_224", num_classes=7, global_pool="avg", **options)
    encoder = {k: v for k, v in before.state_dict().items() if not k.startswith("norm.")}
    assert set(after.load_state_dict(encoder, strict=False).missing_keys) == {
        "fc_norm.weight",
        "fc_norm.bias",
    }
    pool_patches(before)
    assert before.state_dict().keys() == after.state_dict().keys()
    torch.testing.assert_close(before.eval()(images()), after.eval()(images()))


def test_hub_weights_that_classify_by_the_class_token_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = timm.create_model

    def unfetched(name: str, *, pretrained: bool, **options: Any) -> Any:
        assert pretrained
        return real(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", unfetched)

    def built(tag: str) -> VisionTransformer:
        hub = Weights(hub=f"vit_base_patch16_224.{tag}")
        config = ModelConfig(arch="mae_base_patch16_224", weights=hub)
        with torch.device("meta"):
            return build(config, 1000)

    assert built("mae").vit.global_pool == "avg"
    with pytest.raises(WeightsError, match="trained to classify by the class token"):
        built("augreg_in21k_ft_in1k")


def test_networks_without_a_class_token_to_pool_are_refused_where_it_is_needed() -> None:
    shape, small = MAE.shape, ModelConfig(arch="deit_tiny_patch16_224").shape
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-3)
    needed = "self-distillation needs the CLS token to be pooled: vit_base_patch16_224"
    with pytest.raises(FieldError, match=needed):
        Dino().check({"student": shape}, recipe)
    with pytest.raises(FieldError, match="cannot merge tokens"):
        MergedTeacher(merge=2).check({"student": small, "teacher": shape}, recipe)


def test_a_teacher_of_another_size_gets_the_same_image_resized() -> None:
    model = freeze(shaken(ModelConfig(arch="deit3_small_patch16_224", image_size=48, patch_size=8,
                                      width=48, depth=2, heads=4)))  # fmt: skip
    small = images(2, 32)
    resized = functional.interpolate(small, (48, 48), mode="bicubic", antialias=True)
    keep = torch.tensor([[0, 35, 7]] * 2)
    assert model.grid == (6, 6)
    torch.testing.assert_close(
        model(small, keep=keep).logits, model(resized, keep=keep).logits, rtol=0, atol=0
    )
