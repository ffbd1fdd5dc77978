"""Checkpoints as papers' code leaves them, read into the networks that safetensors give."""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.data.config import DataConfig
from harness.errors import WeightsError
from harness.models.build import save_model
from harness.models.config import ModelConfig, Weights
from harness.models.vit import VisionTransformer
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.tasks.knn import KnnRun
from tests.conftest import Experiments
from tests.models.networks import build, shake
from tests.train.test_loop import Context

ROOT = Path(__file__).parents[2]
DATA = DataConfig(name="fashion-mnist", train_fraction=0.02)
VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
State = dict[str, Tensor]


def network(seed: int, config: ModelConfig = VIT) -> VisionTransformer:
    return shake(build(config, 10, channels=1, seed=seed))


def loaded(path: Path, config: ModelConfig = VIT, **weights: Any) -> State:
    config = replace(config, weights=Weights(file=str(path), **weights))
    model = build(config, 10, channels=1, seed=0)
    return dict(model.vit.state_dict())


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def projection() -> State:
    names = ("mlp.0.weight", "mlp.0.bias", "last_layer.weight_g", "last_layer.weight_v")
    return {f"head.{name}": torch.ones(3, 16) for name in names}


def dino(state: State, other: State) -> dict[str, Any]:
    """A training checkpoint of DINO: the student's wrapper of processes has a prefix too."""
    encoder = {name: value for name, value in state.items() if not name.startswith("head.")}
    student = prefixed({**prefixed(other, "backbone."), **projection()}, "module.")
    return {
        "student": student,
        "teacher": {**prefixed(encoder, "backbone."), **projection()},
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", out_dim=65536),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }


LAYOUTS: dict[str, Callable[[State], Any]] = {
    "itself": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "state_dict": lambda state: {"state_dict": prefixed(state, "module.")},
    "encoder": lambda state: prefixed({**state, "mask_token": torch.zeros(1, 1, 16)}, "encoder."),
    "mae": lambda state: {"model": {**state, "decoder_embed.weight": torch.zeros(8, 16)}},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_parameters_as_from_safetensors(layout: str, suffix: str, tmp_path: Path) -> None:
    model = network(1)
    path = tmp_path / f"weights{suffix}"
    torch.save(LAYOUTS[layout](dict(model.vit.state_dict())), path)
    save_model(model, tmp_path / "weights.safetensors")
    found, expected = loaded(path), loaded(tmp_path / "weights.safetensors")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_mean_pooled_checkpoints_fit_the_networks_of_mae(tmp_path: Path) -> None:
    mae = replace(VIT, arch="mae_base_patch16_224")
    state = dict(network(1, mae).vit.state_dict())
    assert "fc_norm.weight" in state
    torch.save({"model": state}, tmp_path / "mae.pth")
    assert torch.equal(loaded(tmp_path / "mae.pth", mae)["fc_norm.bias"], state["fc_norm.bias"])
    with pytest.raises(WeightsError, match=r"4 of 32 parameters differ: the file lacks norm\.bias"):
        loaded(tmp_path / "mae.pth")


def test_the_teacher_of_dino_comes_without_its_projection_head(tmp_path: Path) -> None:
    state, other = (dict(network(seed).vit.state_dict()) for seed in (1, 2))
    torch.save(dino(state, other), tmp_path / "checkpoint.pth")
    found = loaded(tmp_path / "checkpoint.pth", head="new")
    for name, value in state.items():
        assert torch.equal(found[name], value) is not name.startswith("head."), name
    with pytest.raises(
        WeightsError, match=r"2 of \d+ parameters differ.*`head: new` leaves the class"
    ):
        loaded(tmp_path / "checkpoint.pth")


def test_the_first_stage_of_g2sd_starts_a_student_with_a_distillation_token(
    tmp_path: Path,
) -> None:
    state = dict(network(1).vit.state_dict())
    encoder = {name: value for name, value in state.items() if not name.startswith("head.")}
    beside = (
        "encoderfeature_pred.fc1.weight",
        "decoderfeature_pred.fc1.weight",
        "decoder_norm.bias",
    )
    stage = {**encoder, **{name: torch.ones(8, 16) for name in beside}}
    torch.save({"model": stage}, tmp_path / "stage1.pth")
    distilled = replace(VIT, arch="deit_small_distilled_patch16_224")
    for size in (28, 56):  # and on another grid
        found = loaded(tmp_path / "stage1.pth", replace(distilled, image_size=size), head="new")
        assert found["pos_embed"].shape == (1, 2 + (size // 7) ** 2, 16)
        assert torch.equal(found["pos_embed"][:, 0], state["pos_embed"][:, 0])
        assert float(found["pos_embed"][:, 1].abs().max()) == 0
        assert float(found["dist_token"].abs().max()) > 0
        for name in encoder.keys() - {"pos_embed"}:
            assert torch.equal(found[name], state[name]), name
    found = loaded(tmp_path / "stage1.pth", distilled, head="new")
    assert torch.equal(found["pos_embed"][:, 2:], state["pos_embed"][:, 1:])
    with pytest.raises(WeightsError, match="weights of another model"):
        loaded(tmp_path / "stage1.pth", distilled)


def test_the_pretraining_of_mae_starts_a_network_that_pools_its_patches(tmp_path: Path) -> None:
    state = dict(network(1).vit.state_dict())
    encoder = {name: value for name, value in state.items() if not name.startswith("head.")}
    torch.save({"model": encoder}, tmp_path / "mae.pth")
    mae = replace(VIT, arch="mae_base_patch16_224")
    found = loaded(tmp_path / "mae.pth", mae, head="new")
    assert torch.equal(found["fc_norm.weight"], torch.ones(16))
    assert "norm.weight" not in found
    for name in encoder.keys() - {"norm.weight", "norm.bias"}:
        assert torch.equal(found[name], state[name]), name
    with pytest.raises(WeightsError, match="weights of another model"):
        loaded(tmp_path / "mae.pth", mae)


def test_its_content_is_checked_against_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(dict(network(1).vit.state_dict()), path)
    loaded(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="the run was planned with 000000000000"):
        loaded(path, sha256="0" * 64)


class Trap:
    """Runs code where it is unpickled."""

    sprung: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Trap.sprung.append, ("sprung",)


def convert(message: str, folder: Path, *, apart: bool = False) -> Path:
    """What the command in an error leaves, run as it stands; `apart` in a process of its own."""
    code = re.search(r"running (python -c .*) where that", message)
    name = re.search(r"and give (\S+)$", message)
    assert code is not None
    assert name is not None
    _, option, text = shlex.split(code[1])
    if apart:
        subprocess.run([sys.executable, option, text], check=True, cwd=folder)
    else:
        exec(text, {})
    return folder / name[1]


def test_objects_are_never_unpickled_and_the_error_says_how_to_convert(tmp_path: Path) -> None:
    state = dict(network(1).vit.state_dict())
    path = tmp_path / "official.pth"
    torch.save({"model": state, "trap": Trap()}, path)
    with pytest.raises(WeightsError, match=r"official\.pth: would run getattr") as refused:
        loaded(path)
    assert Trap.sprung == []
    assert "python -c" not in str(refused.value)

    torch.save({"model": state, "where": Path("a")}, path)
    with pytest.raises(WeightsError, match=r"holds pathlib\S* beside tensors") as failed:
        loaded(path)
    converted = loaded(convert(str(failed.value), tmp_path, apart=True))
    assert all(torch.equal(converted[name], value) for name, value in state.items())


@pytest.mark.parametrize("cut", [0, 10, 1000, -100])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_is_one_clear_error(tmp_path: Path, cut: int, zipped: bool) -> None:
    path = tmp_path / "short.pth"
    state = dict(network(1).vit.state_dict())
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(
        WeightsError, match=r"short\.pth: (not a whole torch checkpoint|is empty).*again"
    ):
        loaded(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"epoch": 3, "student": {}}, "no network of timm's names.*it has epoch, student"),
        ({"model": {"epoch": 3}}, r"no network of timm's names.*it has model\.epoch"),
        (torch.ones(3), "it has a Tensor"),
        (
            {"vit.embeddings.patch_embeddings.projection.weight": torch.ones(3)},
            r"it has vit\.embeddings\.patch_embeddings\.projection\.weight",
        ),
        (
            {
                "module.patch_embed.proj.weight": torch.ones(3),
                "patch_embed.proj.weight": torch.ones(3),
            },
            r"holds 2 networks: module, \(top\)",
        ),
    ],
)
def test_a_file_of_something_else_is_one_clear_error(
    tmp_path: Path, content: Any, words: str
) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=words):
        loaded(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("vit.embeddings.patch_embeddings.projection.weight", "Hugging Face's transformers"),
        ("conv_proj.weight", "torchvision"),
    ],
)
def test_the_names_of_another_library_are_told(name: str, library: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    for content in ({name: torch.zeros(3)}, {"model": {"x": torch.ones(1), name: torch.zeros(3)}}):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=f"These are the names of {library}: take"):
            loaded(path)


def test_a_published_checkpoint_is_judged_like_any_other(tmp_path: Path) -> None:
    state, other = (dict(network(seed).vit.state_dict()) for seed in (1, 2))
    torch.save(dino(state, other), tmp_path / "dino.pth")
    save_file(state, tmp_path / "dino.safetensors")
    found = []
    for name in ("dino.pth", "dino.safetensors"):
        weights = Weights(file=str(tmp_path / name), head="new")
        run = KnnRun(
            model=replace(VIT, weights=weights),
            data=DATA,
            eval_crop=1.0,
            seed=0,
        )
        found.append(run.execute(Context(tmp_path / f"{name}.run")))
    assert found[0] == found[1]
    assert found[0]["val/knn20_top1"] > 30  # chance is 10


def test_the_example_of_the_docs_plans_one_evaluation(experiments: Experiments) -> None:
    section = (ROOT / "docs/models.md").read_text().split("## Checkpoints of papers' code")[1]
    example = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert example is not None
    for recipe in (ROOT / "experiments/recipes").glob("*.yaml"):
        experiments.recipe(recipe.stem, recipe.read_text())
    checkpoint = experiments.root / "dino_deitsmall16_pretrain.pth"
    torch.save({"cls_token": torch.zeros(1, 1, 384)}, checkpoint)
    experiments.table("own/dino", example[1])
    (run,) = expand(load_table("own/dino"), "paper").runs
    assert run.task == "knn"
    assert isinstance(run.config, KnnRun)
    assert run.config.model is not None
    content = checkpoint.read_bytes()
    assert run.config.model.weights.sha256 == hashlib.sha256(content).hexdigest()
