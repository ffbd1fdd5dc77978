"""The tasks `kept` and `kept-at-start`: numbers against closed forms and numpy, then a report."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.data.dataset import Arrays
from harness.evaluate.kept import KeptMeter, likeness, look_at_kept
from harness.masking.attention import SaliencyModelAttention, TeacherAttention
from harness.masking.late_random import LateRandom
from harness.masking.random import RandomCriterion
from harness.methods import Networks
from harness.methods.distillation import Distillation, DistillationObjective, Mask
from harness.models.architectures import PatchGrid
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.report.builder import build_report
from harness.report.collect import collect
from harness.report.figures import draw, figures
from harness.report.figures.masked_images import ImagesAsShown, masked
from harness.report.model import FinishedRun
from harness.seeding import stream
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from harness.tasks.kept import KeptAtStartRun, KeptRun
from harness.train.config import TrainConfig
from tests.conftest import Experiments
from tests.models.networks import build
from tests.report.models import small
from tests.report.results import finish
from tests.tasks.pictures import write_pictures
from tests.train.test_loop import Context

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
HALF = Mask(keep=8)
OVERLAPPING = PatchGrid(size=(20, 33), patch=8, stride=5)  # 3 x 6
RUN = KeptAtStartRun(
    chooser=VIT,
    mask=HALF,
    patches=VIT.shape.patch_grid,
    image_size=28,
    data=DataConfig(name="fashion-mnist"),
    eval_crop=1.0,
    seed=5,
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], Path]:
    """A student with random weights, over the whole of the real validation set."""
    directory = tmp_path_factory.mktemp("kept") / "run"
    return RUN.execute(Context(directory)), directory


def pixels_of_fashion_mnist() -> np.ndarray:
    val = DATASETS.get("fashion-mnist").load().val
    assert isinstance(val, Arrays)
    return val.images[:, 0].astype(np.float64)


def chosen_as_in_training(pixels: np.ndarray) -> np.ndarray:
    """The patches (B, 8) that the objective itself shows a teacher at this seed."""

    def built() -> torch.nn.Module:
        return build(VIT, 10, channels=1, seed=stream(5, "init")).eval()

    networks = Networks(student=built(), teacher=freeze(built()))  # type: ignore[arg-type]
    objective = DistillationObjective(Distillation(mask=HALF), networks)
    images = torch.tensor((pixels / 255 - 0.2860) / 0.3530, dtype=torch.float32)[:, None]
    with torch.no_grad():
        found = objective._choose(None, images, torch.Generator(), 0.0)
    assert found is not None
    return found.numpy()


def test_numbers_equal_numpy_on_what_training_would_choose(
    kept: tuple[dict[str, float], Path],
) -> None:
    pixels = pixels_of_fashion_mnist()
    chosen = np.concatenate(
        [chosen_as_in_training(pixels[at : at + 1000]) for at in range(0, 10_000, 1000)]
    )
    shown = np.zeros((10_000, 16), dtype=bool)
    np.put_along_axis(shown, chosen, values=True, axis=1)
    garment = (pixels > 0).reshape(-1, 4, 7, 4, 7).sum(axis=(2, 4)).reshape(-1, 16)
    shares = 100 * (garment * shown).sum(axis=1) / garment.sum(axis=1)
    colours = pixels.reshape(-1, 4, 7, 4, 7).mean(axis=(2, 4)).reshape(-1, 16)
    split = [
        np.var([patches[keep].mean(), patches[~keep].mean()]) / patches.var()
        for patches, keep in zip(colours, shown, strict=True)
    ]  # eight on each side, so the variance between them is that of the two means
    used = shown.mean(axis=0) / 8
    place = np.indices((4, 4)).reshape(2, 16) - 1.5
    far = np.hypot(*place)
    assert kept[0] == pytest.approx(
        {
            "kept/evenness": np.exp(-(used * np.log(used)).sum()) / 16,
            "kept/distance": (used * far).sum() / far.mean(),
            "kept/likeness": 100 * np.mean(split),
            "kept/foreground": shares.mean(),
            "kept/foreground_even": 50,
            "kept/foreground_spread": shares.std(),
        },
        rel=2e-3,  # a few ties of attention are rounded to the other side
    )


def test_pictures_and_shares_are_those_of_the_numbers(kept: tuple[dict[str, float], Path]) -> None:
    content = json.loads((kept[1] / "kept-at-start.json").read_text())
    assert (content["size"], content["patch"], content["stride"]) == ([28, 28], 7, 7)
    assert not content["upward"]
    assert sum(content["shares"]) == 10_000
    centres = (np.arange(20) + 0.5) * 5
    mean = np.average(centres, weights=content["shares"])
    assert mean == pytest.approx(kept[0]["kept/foreground"], abs=2.5)  # half a bin
    for picture in content["pictures"]:
        with Image.open(io.BytesIO(base64.b64decode(picture["png"]))) as image:
            pixels = np.asarray(image, dtype=np.float64)
        assert picture["kept"] == chosen_as_in_training(pixels[None])[0].tolist()
    assert len(content["pictures"]) == 8


def test_random_patches_have_the_numbers_of_chance(tmp_path: Path) -> None:
    run = replace(RUN, chooser=None, mask=Mask(keep=8, criterion=RandomCriterion()))
    found = run.execute(Context(tmp_path / "run"))
    assert run.macs() == 0
    assert found["kept/evenness"] == pytest.approx(1, abs=1e-3)
    assert found["kept/distance"] == pytest.approx(1, abs=5e-3)
    assert found["kept/likeness"] == pytest.approx(100 / 15, abs=0.3)  # 1 / (N - 1)
    assert found["kept/foreground"] == pytest.approx(50, abs=0.5)
    garment = (pixels_of_fashion_mnist() > 0).reshape(-1, 4, 7, 4, 7).sum(axis=(2, 4))
    weights = garment.reshape(-1, 16) / garment.sum(axis=(1, 2))[:, None]
    # the variance of a sum over half of 16, drawn without replacement
    variance = (weights.var(axis=1) * 8 * (16 - 8) / (16 - 1)).mean()
    assert found["kept/foreground_spread"] == pytest.approx(100 * variance**0.5, rel=0.03)


def test_what_is_kept_together_is_alike() -> None:
    left = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).flatten()  # the left half of 2 x 2 patches
    pixels = torch.zeros(3, 3, 8, 8)
    pixels[0, :, :, :4] = 200  # the halves differ, and nothing else
    pixels[1, 0, :4] = 200  # top and bottom do: left and right are the same
    shown = left.expand(3, -1).double()
    patches = PatchGrid(size=(8, 8), patch=4, stride=4)
    # the third is even
    assert likeness(pixels, shown, patches).tolist() == pytest.approx([1.0, 0.0])


def test_images_without_an_object_do_not_count() -> None:
    meter = KeptMeter(PatchGrid(size=(4, 4), patch=2, stride=2), background=0)
    pixels = torch.zeros(2, 1, 4, 4)
    pixels[0, 0, 0, 0] = 9
    meter.add(torch.tensor([[0, 1], [0, 1]]), pixels)
    assert meter.shares.tolist() == [1.0]
    assert meter.metrics()["kept/foreground"] == 100


def test_sounds_are_seen_in_patches_that_overlap() -> None:
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(5, 1, 20, 33, generator=draws) * (torch.arange(33) < 17)
    kept = torch.stack([torch.randperm(18, generator=draws)[:4].sort().values for _ in range(5)])
    labels = torch.tensor([1, 0, 1, 2, 1])
    batches = [(values[at], values[at], labels[at]) for at in (slice(0, 3), slice(3, 5))]
    answers = iter([kept[:3], kept[3:]])
    metrics, about = look_at_kept(
        lambda images: next(answers),
        batches,
        patches=OVERLAPPING,
        background=0,
        spectrograms=True,
    )
    windows = values.unfold(2, 8, 5).unfold(3, 8, 5).reshape(5, 18, 64).numpy()
    sound = (windows != 0).sum(axis=2)
    shares = np.take_along_axis(sound, kept.numpy(), axis=1).sum(axis=1) / sound.sum(axis=1)
    assert metrics["kept/foreground"] == pytest.approx(100 * shares.mean())
    assert metrics["kept/foreground_even"] == pytest.approx(100 * 4 / 18)
    far = [np.hypot(patch // 6 - 1, patch % 6 - 2.5) for patch in range(18)]
    chosen = np.mean([far[patch] for patch in kept.flatten().tolist()])
    assert metrics["kept/distance"] == pytest.approx(chosen / np.mean(far))
    assert [one["label"] for one in about["pictures"]] == [1, 0, 2]
    assert about["pictures"][2]["kept"] == kept[3].tolist()
    with Image.open(io.BytesIO(base64.b64decode(about["pictures"][0]["png"]))) as image:
        levels = np.asarray(image)
    clip = values[0, 0].numpy()
    np.testing.assert_array_equal(
        levels, np.round((clip - clip.min()) / (clip.max() - clip.min()) * 255)
    )


def test_the_teacher_has_its_own_patches(tmp_path: Path) -> None:
    patches = PatchGrid(size=(28, 28), patch=4, stride=4)
    run = replace(RUN, patches=patches, mask=Mask(keep=10))
    assert run.execute(Context(tmp_path / "run"))["kept/foreground_even"] == 100 * 10 / 49
    content = json.loads((tmp_path / "run/kept-at-start.json").read_text())
    assert all(len(one["kept"]) == 10 for one in content["pictures"])


def config_of(mask: Mask | None, *, saliency_model: ModelConfig | None = None) -> TrainConfig:
    table = expand(load_table("maskedkd/table2"), "smoke", rows="deit_ti.deit_s.logit")
    config = table.rows[0].config
    assert config is not None
    method = replace(config.method, mask=mask)
    return replace(config, method=method, saliency_model=saliency_model, seed=3)


def test_a_run_holds_what_decides_its_numbers_alone() -> None:
    own = KeptAtStartRun.of(config_of(HALF))
    assert own is not None
    assert (own.chooser, own.seed, own.data.train_fraction) == (
        config_of(HALF).student.for_evaluation(),
        3,
        1.0,
    )
    by_teacher = KeptRun.of(config_of(Mask(keep=8, criterion=TeacherAttention())))
    assert by_teacher is not None
    assert (by_teacher.chooser, by_teacher.seed) == (config_of(HALF).teacher, 0)
    by_other = KeptRun.of(
        config_of(Mask(keep=8, criterion=SaliencyModelAttention()), saliency_model=VIT)
    )
    assert by_other is not None
    assert by_other.chooser == VIT.for_evaluation()
    by_chance = KeptRun.of(config_of(Mask(keep=8, criterion=RandomCriterion())))
    assert by_chance is not None
    assert (by_chance.chooser, by_chance.seed) == (None, 0)  # one run for all seeds
    assert KeptRun.of(config_of(None)) is None
    assert KeptRun.of(config_of(Mask(keep=16))) is None  # all patches: nothing is chosen


def test_rows_with_a_masked_teacher_have_such_runs_of_sounds_too() -> None:
    rows = {row.row.id: row.config for row in expand(load_table("maskedkd/table3"), "smoke").rows}
    runs = {name: KeptRun.of(config) for name, config in rows.items() if config is not None}
    assert {name for name, run in runs.items() if run} == {"keep83", "keep50"}
    (run, _) = filter(None, runs.values())
    assert run.patches.shape == (6, 7)
    assert not any(run.lacks(metric) for metric in run.metrics())


def test_a_choice_that_changes_in_training_is_that_of_its_stage(tmp_path: Path) -> None:
    mask = Mask(keep=8, criterion=LateRandom(random=7, attention=TeacherAttention()))
    options = {field.name: getattr(RUN, field.name) for field in fields(RUN)} | {"mask": mask}
    start, end = (
        cls(**options).execute(Context(tmp_path / cls.__name__))["kept/likeness"]
        for cls in (KeptAtStartRun, KeptRun)
    )
    assert end < start - 10  # seven of eight patches are drawn at random by then


def test_objects_are_not_known_of_every_data_set(tmp_path: Path) -> None:
    data = DataConfig(name="folder", path=str(write_pictures(tmp_path / "pictures")))
    run = replace(RUN, data=data)
    found = run.execute(Context(tmp_path / "run"))
    assert found.keys() == {"kept/evenness", "kept/distance", "kept/likeness"}
    lacking = {metric for metric in run.metrics() if run.lacks(metric)}
    assert lacking == run.metrics() - found.keys()
    assert not any(RUN.lacks(metric) for metric in RUN.metrics())


def test_hidden_patches_are_painted_over() -> None:
    picture = np.full((4, 6, 3), 7, dtype=np.uint8)
    shown = masked(picture, (0, 5), PatchGrid(size=(4, 6), patch=2, stride=2))
    np.testing.assert_array_equal(
        (shown == 7).all(axis=2), np.kron([[1, 0, 0], [0, 0, 1]], np.ones((2, 2))).astype(bool)
    )


@pytest.mark.parametrize("zoom", [1, 2])
def test_a_pixel_belongs_to_the_patch_whose_middle_is_nearest(zoom: int) -> None:
    patches = PatchGrid(size=(20, 32), patch=8, stride=6)
    middles = np.array(
        [[6 * row + 3.5, 6 * column + 3.5] for row in range(3) for column in range(5)]
    )
    away = np.indices((20, 32)).reshape(2, -1, 1) - middles.T[:, None]
    nearest = np.kron(np.hypot(*away).argmin(axis=1).reshape(20, 32), np.ones((zoom, zoom)))
    picture = np.full((20 * zoom, 32 * zoom, 3), 7, dtype=np.uint8)
    for patch in range(15):
        shown = (masked(picture, (patch,), patches) == 7).all(axis=2)
        np.testing.assert_array_equal(shown, nearest == patch)


def left_behind(path: Path, kept: list[int], *, level: int) -> object:
    """The file of a run that has one spectrogram, brighter at its lowest bins."""
    levels = np.full((20, 33), level, np.uint8)
    levels[:5] = 255
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format="PNG")
    png = base64.b64encode(buffer.getvalue()).decode()
    one = {"label": 3, "png": png, "kept": kept}
    about = {"size": [20, 33], "patch": 8, "stride": 5, "upward": True}
    path.write_text(json.dumps({**about, "pictures": [one], "shares": []}))
    return ImagesAsShown.read(path)


def test_the_report_shows_sounds_of_one_fold_as_spectrograms_lie(tmp_path: Path) -> None:
    model = small()
    ids = [row.id for row in model.rows]
    left = [(ids[0], 0, 50), (ids[0], 1, 90), (ids[1], 1, 90)]  # seed 0 is judged by another fold
    runs = [
        FinishedRun(
            row=row,
            seed=seed,
            files={"kept.json": left_behind(tmp_path / "kept.json", [0, 7, 17], level=level)},
        )
        for row, seed, level in left
    ]
    model = replace(model, runs=(*model.runs, *runs), figures=(*model.figures, *KeptRun.figures))
    (figure,) = [one for one in figures(model) if one.name == "masked-images"]
    shown = figure.select()
    assert list(shown) == ids[:2]
    assert len({one.pictures[0].png for one in shown.values()}) == 1
    assert "each stands for its middle 5 x 5" in figure.caption()
    assert "mel bins from below" in figure.caption()
    with Image.open(io.BytesIO(draw("masked-images", model, format="png"))) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    bright = np.argwhere((pixels == 255).all(axis=2) & (np.roll(pixels, 1, axis=0) == 90).all(2))
    assert len(bright)  # the lowest bins, white, lie below the others


def test_the_report_shows_them(
    experiments: Experiments, kept: tuple[dict[str, float], Path]
) -> None:
    experiments.table(
        "judged/tiny",
        """
        paper: {title: A table}
        columns:
          alike: {label: Likeness, from: kept-at-start, metric: kept/likeness, unit: "%"}
        base:
          recipe: light
          data: {name: fashion-mnist}
          student: &vit {arch: vit, image_size: 28, patch_size: 7, width: 16, depth: 2, heads: 2}
          teacher: *vit
          method: {name: distillation}
        rows:
          - {id: half, label: half of them, set: {method: {mask: {keep: 8}}}}
          - {id: all, label: all of them}
        profiles: {fashion-mnist: {description: small, seeds: [0, 1]}}
        """,
    )
    expansion = expand(load_table("judged/tiny"), "fashion-mnist")
    assert [(run.task, run.title.row) for run in expansion.runs] == [("kept-at-start", "half")] * 2
    store = Store(experiments.root / "results")
    finish(store, expansion.runs[0], kept[0])
    (directory,) = ((store.record(expansion.runs[0].identity) or pytest.fail("no run")).directory,)
    (directory / "kept-at-start.json").write_bytes((kept[1] / "kept-at-start.json").read_bytes())
    model = collect(expansion, store)
    (run,) = model.runs
    assert len(run.files["kept-at-start.json"].pictures) == 8
    names = [getattr(block, "name", "") for block in build_report(model).blocks]
    assert names.count("masked-images-at-start") == 1
    with Image.open(io.BytesIO(draw("masked-images-at-start", model, format="png"))) as image:
        colours = {tuple(pixel) for pixel in np.asarray(image.convert("RGB")).reshape(-1, 3)}
    assert (196, 205, 216) in colours  # hidden patches


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"pictures": [{"label": 0, "png": "AAAA", "kept": [0]}]}, "no PNG"),
        ({"shares": [1, -1]}, "negative"),
        ({"patch": 28, "stride": 28}, "outside its image"),
        ({"stride": 8}, "do not fit"),
        ({"stride": 0}, "do not fit"),
    ],
)
def test_a_damaged_file_is_told(
    change: dict[str, object], says: str, kept: tuple[dict[str, float], Path], tmp_path: Path
) -> None:
    content = json.loads((kept[1] / "kept-at-start.json").read_text()) | change
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=says):
        ImagesAsShown.read(path)
