"""The task `attention`: numbers against timm's own attention, pictures down to the report."""

from __future__ import annotations

import base64
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.data.dataset import Arrays
from harness.models.config import ModelConfig
from harness.report.builder import build_report
from harness.report.collect import collect
from harness.report.figures import draw
from harness.seeding import stream
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from harness.tasks.attention import AttentionRun
from tests.conftest import Experiments
from tests.models.networks import build
from tests.report.results import finish
from tests.tasks.pictures import runs_of, write_pictures
from tests.train.test_loop import Context

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
LOOK = "look: {from: attention, metric: attention/foreground}"
FASHION = "{name: fashion-mnist, train_fraction: 0.05}"


def reference(pixels: np.ndarray, seed: int) -> np.ndarray:
    """Attention (B, heads, 16) of the class token in float64 for `pixels` (B, 28, 28), by timm's
    block written out.
    """
    model = build(VIT, 10, channels=1, seed=stream(seed, "init"))
    vit = model.vit.double().eval()
    images = torch.tensor((pixels / 255 - 0.2860) / 0.3530)[:, None]
    with torch.no_grad():
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
        tokens = vit.blocks[0](tokens)
        last = vit.blocks[1]
        parts = last.attn.qkv(last.norm1(tokens)).reshape(-1, 17, 3, 2, 8)
        query, key, _ = parts.permute(2, 0, 3, 1, 4).unbind(0)
        rows = (query @ key.transpose(2, 3) / math.sqrt(8)).softmax(dim=-1)
    found: np.ndarray = rows[:, :, 0, 1:].numpy()
    return found


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], Path]:
    """The run over the whole of the real validation set: metrics, directory."""
    directory = tmp_path_factory.mktemp("attention") / "run"
    run = AttentionRun(model=VIT, data=DataConfig(name="fashion-mnist"), eval_crop=1.0, seed=5)
    return run.execute(Context(directory)), directory


def test_pictures_hold_the_attention_of_every_head(looked: tuple[dict[str, float], Path]) -> None:
    content = json.loads((looked[1] / "attention.json").read_text())
    assert content["grid"] == [4, 4]
    labels = [picture["label"] for picture in content["pictures"]]
    assert len(labels) == len(set(labels)) == 8
    for picture in content["pictures"]:
        with Image.open(io.BytesIO(base64.b64decode(picture["png"]))) as image:
            pixels = np.asarray(image, dtype=np.float64)
        assert pixels.shape == (28, 28)
        np.testing.assert_allclose(picture["heads"], reference(pixels[None], seed=5)[0], atol=1e-5)


def test_numbers_equal_numpy_in_float64(looked: tuple[dict[str, float], Path]) -> None:
    val = DATASETS.get("fashion-mnist").load().val
    assert isinstance(val, Arrays)
    images = val.images[:, 0].astype(np.float64)
    patches = (images > 0).reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(-1, 1, 16)
    heads = np.concatenate([reference(images[at : at + 1000], 5) for at in range(0, 10_000, 1000)])
    heads /= heads.sum(axis=2, keepdims=True)
    foreground = 100 * (heads * patches).sum(axis=2).mean(axis=0)
    assert looked[0] == pytest.approx(
        {
            "attention/entropy": -(heads * np.log(heads)).sum(axis=2).mean(),
            "attention/entropy_even": math.log(16),
            "attention/foreground": foreground.mean(),
            "attention/foreground_best": foreground.max(),
            "attention/foreground_even": 100 * patches.mean(),
        },
        rel=1e-5,
    )


def test_rows_without_a_plain_vit_have_none(experiments: Experiments) -> None:
    rows = """
          - {id: pixels, set: {method: pixels}}
          - {id: untrained, set: {method: untrained}}"""
    runs = runs_of(experiments, LOOK, rows, FASHION)
    assert [run.title.row for run in runs] == ["untrained", "untrained"]
    swin = "- {id: swin, set: {student: {arch: swin_tiny_patch4_window7_224}, method: untrained}}"
    assert runs_of(experiments, LOOK, swin, "{name: cifar10}") == []


def test_sets_without_marked_objects_have_entropy_only(tmp_path: Path) -> None:
    data = DataConfig(name="folder", path=str(write_pictures(tmp_path / "pictures")))
    run = AttentionRun(model=VIT, data=data, eval_crop=1.0, seed=0)
    metrics = run.execute(Context(tmp_path / "run"))
    assert metrics.keys() <= run.metrics()
    assert sorted(metrics) == ["attention/entropy", "attention/entropy_even"]
    content = json.loads((tmp_path / "run" / "attention.json").read_text())
    with Image.open(io.BytesIO(base64.b64decode(content["pictures"][0]["png"]))) as image:
        assert image.mode == "RGB"
        own = np.asarray(Image.open(tmp_path / "pictures/val/class0/00.png"))
        np.testing.assert_array_equal(np.asarray(image), own)


def test_the_report_shows_the_pictures(
    experiments: Experiments, looked: tuple[dict[str, float], Path]
) -> None:
    rows = """
          - {id: untrained, label: random weights, set: {method: untrained}}
          - {id: labels, label: labels}"""
    runs_of(experiments, LOOK, rows, FASHION)
    expansion = expand(load_table("judged/tiny"), "fashion-mnist")
    store = Store(experiments.root / "results")
    run = next(run for run in expansion.runs if run.task == "attention")
    finish(store, run, looked[0])
    (directory,) = (store.record(run.identity) or pytest.fail("no run")).directory.parent.iterdir()
    (directory / "attention.json").write_bytes((looked[1] / "attention.json").read_bytes())
    model = collect(expansion, store)
    (looked_at,) = (run for run in model.runs if run.files)
    assert looked_at.row == "untrained"
    assert len(looked_at.files["attention.json"]) == 8
    figures = [
        block for block in build_report(model).blocks if getattr(block, "name", "") == "attention"
    ]
    assert len(figures) == 1
    content = draw("attention", model, format="png")
    with Image.open(io.BytesIO(content)) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 50  # not an empty page
