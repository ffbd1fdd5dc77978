"""The task `kept-patches`: numbers by hand, pictures down to the report."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.config import DataConfig
from harness.evaluate.attention import look
from harness.evaluate.kept_patches import content_shares, look_at_kept
from harness.evidence import FigureOf
from harness.methods.distillation import Mask
from harness.models.build import build_model
from harness.models.config import ModelConfig
from harness.models.vit import Normalisation
from harness.report.figures import draw, figures
from harness.report.figures.kept_patches import PicturesOfKept
from harness.report.model import FinishedRun
from harness.tasks.kept_patches import KEPT_PICTURES, KeptPatchesRun
from harness.tasks.train import TrainRun
from tests.report.models import small
from tests.train.test_loop import Context

SHAPE = ModelConfig(
    arch="ast_small",
    image_size=20,
    image_width=33,
    patch_size=8,
    stride=5,
    width=24,
    depth=1,
    heads=4,
).shape
GRID = (3, 6)


def test_shares_of_overlapping_patches_are_counted() -> None:
    values = torch.zeros(2, 1, 20, 33)
    values[0, :, :, :14] = 0.2  # rounds to nothing, and is something
    values[1, 0, 3, 9] = -4
    found = content_shares(values, SHAPE, background=0, exact=True)
    expected = np.zeros((2, 18))
    for patch in range(18):
        top, left = 5 * (patch // 6), 5 * (patch % 6)
        for clip in range(2):
            window = values[clip, 0, top : top + 8, left : left + 8]
            expected[clip, patch] = (window != 0).float().mean()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    rounded = content_shares(values, SHAPE, background=0, exact=False)
    assert rounded[0].sum() == 0


def test_metrics_are_means_over_all_images() -> None:
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(5, 1, 20, 33, generator=draws) * (torch.arange(33) < 17)
    kept = torch.stack([torch.randperm(18, generator=draws)[:4].sort().values for _ in range(5)])
    batches = [
        (values[at], values[at], torch.tensor([1, 0, 1, 2, 1])[at])
        for at in (slice(0, 3), slice(3, 5))
    ]
    answers = iter([kept[:3], kept[3:]])
    metrics, pictures = look_at_kept(
        lambda images: next(answers), batches, SHAPE, background=0, spectrograms=True
    )
    share = content_shares(values, SHAPE, background=0, exact=True)
    assert metrics["kept/content"] == pytest.approx(100 * float(share.gather(1, kept).mean()))
    assert metrics["kept/content_even"] == pytest.approx(100 * float(share.mean()))
    far = [np.hypot(p // 6 - 1, p % 6 - 2.5) for p in range(18)]
    chosen = np.mean([far[p] for p in kept.flatten().tolist()])
    assert metrics["kept/distance"] == pytest.approx(chosen / np.mean(far))
    assert [one["label"] for one in pictures["pictures"]] == [1, 0, 2]
    assert pictures["pictures"][2]["kept"] == kept[3].tolist()
    with Image.open(io.BytesIO(base64.b64decode(pictures["pictures"][0]["png"]))) as image:
        levels = np.asarray(image)
    assert (levels.min(), levels.max(), levels.shape) == (0, 255, (20, 33))
    rest = values[0, 0].numpy()
    np.testing.assert_array_equal(
        levels, np.round((rest - rest.min()) / (rest.max() - rest.min()) * 255)
    )


def test_a_run_on_pictures_shows_what_the_student_looks_at(tmp_path: Path) -> None:
    student = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
    run = KeptPatchesRun(
        model=student,
        teacher=replace(student, patch_size=4),
        saliency_model=None,
        mask=Mask(keep=10),
        data=DataConfig(name="fashion-mnist"),
        eval_crop=1.0,
        seed=0,
    )
    metrics = run.execute(Context(tmp_path / "run"))
    assert metrics.keys() == run.metrics()
    assert 0 < metrics["kept/content"] <= 100
    content = json.loads((tmp_path / "run/kept.json").read_text())
    assert (content["grid"], content["patch"], content["stride"]) == ([7, 7], 4, 4)
    assert all(len(one["kept"]) == 10 for one in content["pictures"])


def test_only_masked_teachers_have_such_runs() -> None:
    from harness.spec.expand import expand
    from harness.spec.load import load_table

    rows = {row.row.id: row.config for row in expand(load_table("maskedkd/table3"), "smoke").rows}
    asked = {name: KeptPatchesRun.of(config) for name, config in rows.items()}
    assert {name for name, run in asked.items() if run is not None} == {"keep83", "keep50"}
    assert TrainRun.of(rows["keep50"]) is not None


def pictured(tmp_path: Path, kept: list[int]) -> Any:
    """A report with one row that has a spectrogram, bright at the lowest bins."""
    levels = np.full((20, 33), 100, np.uint8)
    levels[:5] = 255
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, format="PNG")
    png = base64.b64encode(stream.getvalue()).decode()
    content = {
        "grid": list(GRID),
        "size": [20, 33],
        "patch": 8,
        "stride": 5,
        "spectrograms": True,
        "pictures": [{"label": 3, "png": png, "kept": kept}],
    }
    (tmp_path / "kept.json").write_text(json.dumps(content))
    model = small()
    run = FinishedRun(
        row=model.rows[1].id,
        seed=0,
        files={"kept.json": PicturesOfKept.read(tmp_path / "kept.json")},
    )
    declared: tuple[FigureOf, ...] = (*model.figures, KEPT_PICTURES)
    return replace(model, runs=(*model.runs, run), figures=declared)


def test_the_report_draws_kept_patches_by_their_middles(tmp_path: Path) -> None:
    model = pictured(tmp_path, [0, 7, 17])
    (figure,) = [one for one in figures(model) if one.name == "kept-patches"]
    ((one,),) = figure.select().values()
    cells = one.cells()
    assert cells.shape == (20, 33)
    for row in range(3):
        for column in range(6):  # the middle pixel of each patch is its own
            assert cells[5 * row + 3, 5 * column + 3] == 6 * row + column
    assert "each stands for its middle 5 x 5" in figure.caption()
    assert "mel bins from below" in figure.caption()
    content = draw("kept-patches", model, format="png")
    with Image.open(io.BytesIO(content)) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


@pytest.mark.parametrize("kept", [[], [18], [-1]])
def test_a_damaged_file_is_told(tmp_path: Path, kept: list[int]) -> None:
    with pytest.raises(ValueError, match="its patches are not those of the grid"):
        pictured(tmp_path, kept)


def test_attention_pictures_of_sounds_lie_as_spectrograms_do() -> None:
    model = build_model(
        ModelConfig(
            arch="ast_small",
            image_size=20,
            image_width=33,
            patch_size=8,
            stride=5,
            width=24,
            depth=2,
            heads=4,
        ),
        classes=3,
        channels=1,
        input_norm=Normalisation(mean=(0.0,), std=(1.0,)),
        dependencies={},
    ).eval()
    values = torch.randn(2, 1, 20, 33, generator=torch.Generator().manual_seed(1))
    values[:, :, :, 20:] = 0
    batches = [(values, values, torch.tensor([0, 1]))]
    metrics, about = look(model, batches, background=0, spectrograms=True)
    assert about["grid"] == [3, 6]
    assert about["upward"]
    share = content_shares(values, SHAPE, background=0, exact=True)
    heads = model.attention_by_head(values)
    heads = heads / heads.sum(dim=2, keepdim=True)
    expected = 100 * float((heads * share[:, None]).sum(dim=2).mean())
    assert metrics["attention/foreground"] == pytest.approx(expected, rel=1e-5)
    (saliency,) = {len(head) for one in about["pictures"] for head in one["heads"]}
    assert saliency == 18
