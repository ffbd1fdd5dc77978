"""Checkpoints as the systems' authors lay them out: whole, lacking, with more, of other shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import WeightsError
from harness.models.config import ModelConfig, Weights
from harness.models.families.ast import fitted_positions
from harness.models.vit import VisionTransformer
from tests.models.networks import build

State = dict[str, Tensor]
SIZES: dict[str, Any] = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 2, "heads": 2}
PLAIN = ModelConfig(arch="vit", **SIZES)


def built(config: ModelConfig, seed: int = 0, classes: int = 3) -> VisionTransformer:
    return build(config, classes, channels=config.channels or 3, seed=seed)


def within(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def of_mae(state: State) -> Any:
    """Of pre-training: no classifier, the decoder beside the encoder, and a token of its own."""
    encoder = {name: value for name, value in state.items() if not name.startswith("head.")}
    decoder = {"mask_token": torch.ones(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
    return {"model": encoder | decoder, "epoch": 799}


def of_dinov2(state: State) -> Any:
    """Blocks in chunks, heads beside the network, and the student too."""
    named = {name.replace("blocks.", "blocks.0."): value for name, value in state.items()}
    backbone = {name: value for name, value in named.items() if not name.startswith("head.")}
    backbone["mask_token"] = torch.ones(1, 16)
    heads = {"dino_head.mlp.0.weight": torch.ones(4, 4)}
    return {"teacher": within("backbone.", backbone) | heads}


def of_segmenter(state: State) -> Any:
    """Encoder and decoder side by side, the encoder with the classifier of its pre-training."""
    parts = {}
    for name, value in state.items():
        parts[name if name.startswith("decoder.") else f"encoder.{name}"] = value
    return {"model": {**parts, "encoder.head.weight": torch.ones(1000, 16)}, "n_cls": 3}


def of_ast(state: State) -> Any:
    """Its classifier is called `mlp_head`; that of photographs lies idle."""
    parts = {}
    for name, value in state.items():
        head = name.startswith("head.")
        parts[f"module.mlp_{name}" if head else f"module.v.{name}"] = value
    return {**parts, "module.v.head.weight": torch.ones(1000, 16)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A network, and how its authors save it."""

    config: ModelConfig
    saved: Callable[[State], Any]
    head: Any = "new"


LAYOUTS = {
    "mae": Layout(config=PLAIN, saved=of_mae),
    "mae, tuned": Layout(config=replace(PLAIN, arch="mae_base_patch16_224"), saved=of_mae),
    "dinov2": Layout(config=replace(PLAIN, layer_scale=0.1, mlp="swiglu"), saved=of_dinov2),
    "yolos": Layout(
        config=replace(PLAIN, arch="yolos", detection_tokens=3),
        saved=lambda state: {"model": state},
        head="own",
    ),
    "segmenter": Layout(config=replace(PLAIN, arch="segmenter"), saved=of_segmenter, head="own"),
    "ast": Layout(
        config=ModelConfig(
            arch="ast_small", **{**SIZES, "image_width": 40, "stride": 6, "channels": 1}
        ),
        saved=of_ast,
        head="own",
    ),
}
INNER, POSITIONS = "blocks.1.mlp.fc1.weight", "pos_embed"
DAMAGE: dict[str, tuple[Callable[[State], object], str]] = {
    "lacks a layer": (lambda state: state.pop(INNER), f"lacks {INNER}"),
    "lacks positions": (lambda state: state.pop(POSITIONS), f"lacks {POSITIONS}"),
    "has more": (
        lambda state: state.update({"blocks.1.attn.more": torch.ones(3)}),
        "only the file has blocks.1.attn.more",
    ),
    "has a layer of another shape": (
        lambda state: state.update({INNER: torch.ones(3, 4)}),
        f"of another shape: {INNER} (3, 4), wanted",
    ),
    "has other widths": (
        lambda state: state.update({POSITIONS: torch.ones(1, 17, 24)}),
        f"{POSITIONS} (1, 17, 24), wanted",
    ),
    **{
        f"has positions {tuple(odd.shape)}": (
            lambda state, odd=odd: state.update({POSITIONS: odd}),  # type: ignore[misc]
            f"{POSITIONS} {tuple(odd.shape)}, wanted",
        )
        for odd in (torch.ones(()), torch.ones(16), torch.ones(2, 2), torch.ones(1, 0, 16))
    },
    "has tokens of another shape": (
        lambda state: state.update({"cls_token": torch.ones(16)}),
        "cls_token (16,), wanted (1, 1, 16)",
    ),
}


def load(layout: Layout, state: State, path: Path, head: str) -> VisionTransformer:
    torch.save(layout.saved(state), path)
    weights = Weights(file=str(path), head=head)  # type: ignore[arg-type]
    return built(replace(layout.config, weights=weights), seed=1)


def original(layout: Layout) -> State:
    return {key: value.clone() for key, value in built(layout.config).vit.state_dict().items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_whole_checkpoint_is_read(name: str, tmp_path: Path) -> None:
    layout = LAYOUTS[name]
    state = original(layout)
    found = load(layout, state, tmp_path / "it.pth", layout.head).vit.state_dict()
    new = {"head.weight", "head.bias"} if layout.head == "new" else set()
    for key, value in state.items():
        assert torch.equal(found[key], value) is (key not in new or key == "head.bias"), key


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_damaged_one_is_told_by_its_parameter(name: str, damage: str, tmp_path: Path) -> None:
    layout, (change, words) = LAYOUTS[name], DAMAGE[damage]
    state = original(layout)
    change(state)
    for head in {layout.head, "new"}:
        with pytest.raises(WeightsError, match=r"it\.pth: weights of another model") as told:
            load(layout, state, tmp_path / "it.pth", head)
        assert words in str(told.value)
        assert "\n" not in str(told.value)


def test_a_classifier_of_another_width_is_no_start_of_a_detector(tmp_path: Path) -> None:
    state = original(Layout(config=replace(PLAIN, width=24), saved=dict))
    with pytest.raises(WeightsError, match="weights of another model"):
        load(LAYOUTS["yolos"], state, tmp_path / "it.pth", "new")


def test_the_released_detectors_are_told_to_be_others(tmp_path: Path) -> None:
    """They have detection tokens under another name, and positions of a grid that is no square."""
    state = within("backbone.", original(Layout(config=PLAIN, saved=dict)))
    state["backbone.det_token"] = torch.ones(1, 100, 16)
    state["backbone.pos_embed"] = torch.ones(1, 1 + 100 + 6 * 4, 16)
    state["class_embed.layers.0.weight"] = torch.ones(16, 16)
    for head in ("own", "new"):
        with pytest.raises(WeightsError, match=r"only the file has det_token \(1, 100, 16\)"):
            load(LAYOUTS["yolos"], state, tmp_path / "it.pth", head)


def test_spectrograms_whose_patches_would_fill_a_square_are_none(tmp_path: Path) -> None:
    """5 rows of 20 patches are 100, as 10 x 10 are: they keep their rows."""
    layout = LAYOUTS["ast"]
    assert layout.config.shape.grid == (5, 6)
    longer = replace(layout.config, image_width=8 + 6 * 19)
    assert longer.shape.grid == (5, 20)
    state = original(Layout(config=longer, saved=of_ast))
    found = load(layout, state, tmp_path / "it.pth", "new").vit.pos_embed
    rows = state[POSITIONS][0, 2:].reshape(5, 20, 16)
    assert torch.equal(found[0, 2:].detach().reshape(5, 6, 16), rows[:, 7:13])


def test_photographs_whose_patches_would_fill_our_rows_are_squares() -> None:
    """10 x 10 patches could be 5 rows of 20."""
    rows = torch.arange(10.0).repeat_interleave(10)[None, :, None].expand(1, 100, 16)
    positions = torch.cat([torch.zeros(1, 2, 16), rows], dim=1)
    found = fitted_positions(positions, LAYOUTS["ast"].config.shape, photographs=True)
    assert found[0, 2:].reshape(5, 6, 16)[:, 0, 0].tolist() == [3, 4, 5, 6, 7]
