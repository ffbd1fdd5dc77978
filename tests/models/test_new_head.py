"""Weights carried over to another task: all but the classifier, positions on another grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import FieldError, WeightsError
from harness.models.build import ARTIFACT, save_model
from harness.models.config import ModelConfig, Weights
from harness.models.vit import VisionTransformer
from harness.spec.identity import to_dict
from tests.models.networks import build, shake

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)


def built(config: ModelConfig, classes: int, folder: Path, seed: int = 1) -> VisionTransformer:
    return build(config, classes, channels=1, dependencies={"a": folder}, seed=seed)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """What a training run of ten classes left."""
    save_model(shake(built(VIT, 10, tmp_path, seed=7), 1), tmp_path / ARTIFACT)
    return tmp_path


def test_all_but_the_classifier_is_taken(trained: Path) -> None:
    state = load_file(trained / ARTIFACT)
    carried = built(replace(VIT, weights=Weights(run="a", head="new")), 3, trained)
    fresh = built(VIT, 3, trained).vit.state_dict()
    for name, value in carried.vit.state_dict().items():
        expected = fresh[name] if name.startswith("head.") else state[name]
        assert torch.equal(value, expected), name
    assert carried.vit.head.weight.shape == (3, 16)


def test_the_classifier_is_new_even_for_as_many_classes(trained: Path) -> None:
    carried = built(replace(VIT, weights=Weights(run="a", head="new")), 10, trained)
    assert not torch.equal(carried.vit.head.weight, load_file(trained / ARTIFACT)["head.weight"])


def test_positions_are_resized_to_another_grid(trained: Path) -> None:
    state = load_file(trained / ARTIFACT)
    larger = replace(VIT, image_size=56, weights=Weights(run="a", head="new"))
    found = built(larger, 3, trained).vit.pos_embed
    assert found.shape == (1, 1 + 64, 16)
    assert torch.equal(found[:, 0], state["pos_embed"][:, 0])
    grid = state["pos_embed"][:, 1:].view(1, 4, 4, 16).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, (8, 8), mode="bicubic", antialias=True)
    assert torch.allclose(found[:, 1:], expected.flatten(2).transpose(1, 2), atol=1e-5)


def test_everything_else_must_still_fit(trained: Path) -> None:
    deeper = replace(VIT, depth=3, weights=Weights(run="a", head="new"))
    with pytest.raises(WeightsError, match=r"12 of 44 parameters differ: the file lacks blocks\.2"):
        built(deeper, 3, trained)
    with pytest.raises(WeightsError, match=r"2 parameters differ.*; `head: new` leaves the class"):
        built(replace(VIT, weights=Weights(run="a")), 3, trained)


@pytest.mark.parametrize("head", ["own", "new"])
@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (16, r"positions for 16 patches and none for the class token: give an `arch` that has no"),
        (64, r"positions for 64 patches and none for the class token: give an `arch` that has no"),
        (11, r"for 11 tokens, the network for 16 patches and 1 more: give .* the file is of$"),
    ],
)
def test_positions_that_no_new_head_resizes(
    head: Literal["own", "new"], tokens: int, words: str, trained: Path
) -> None:
    state = load_file(trained / ARTIFACT) | {"pos_embed": torch.ones(1, tokens, 16)}
    save_file(state, trained / ARTIFACT)
    with pytest.raises(WeightsError, match=words) as failed:
        built(replace(VIT, weights=Weights(run="a", head=head)), 10, trained)
    assert "head: new" not in str(failed.value)


def test_positions_that_a_new_head_resizes(trained: Path) -> None:
    larger = replace(VIT, image_size=56, weights=Weights(run="a"))
    with pytest.raises(WeightsError, match=r"file is of, or `head: new`, which resizes them$"):
        built(larger, 10, trained)


def test_random_weights_have_no_old_head() -> None:
    with pytest.raises(FieldError, match="`new` goes with"):
        Weights(head="new")


def test_runs_planned_before_this_option_keep_their_identity() -> None:
    from harness.spec.identity import identity_form

    assert "head" not in identity_form(Weights(run="a"))
    assert identity_form(Weights(run="a", head="new"))["head"] == "new"
    assert to_dict(Weights(run="a"))["head"] == "own"


def test_a_segmenter_starts_from_a_classifiers_encoder(trained: Path) -> None:
    """As lut/segmentation does: all of the encoder is taken, and the decoder is new."""
    segmenter = replace(VIT, arch="segmenter", weights=Weights(run="a", head="new"))
    carried = built(segmenter, 3, trained).vit.state_dict()
    state = load_file(trained / ARTIFACT)
    encoder = {name for name in carried if not name.startswith("decoder.")}
    assert encoder == {name for name in state if not name.startswith("head.")}
    assert all(torch.equal(carried[name], state[name]) for name in encoder)
