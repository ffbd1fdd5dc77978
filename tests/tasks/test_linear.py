"""The task `linear`: both ways to choose the rate, resuming, and what a spec may say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import scipy.special
import torch

from harness.data.config import DataConfig
from harness.data.sampler import Sampler
from harness.errors import Interrupted, RunFailed, SpecError
from harness.models.config import ModelConfig, Weights
from harness.seeding import generator
from harness.tasks.knn import KnnRun
from harness.tasks.linear import LinearRun
from harness.train.config import Probe
from harness.train.evaluation_data import AS_THEY_ARE
from tests.conftest import Experiments
from tests.data.conftest import opened
from tests.models.networks import build
from tests.tasks.pictures import runs_of, write_pictures
from tests.train.test_loop import Context

CPU = torch.device("cpu")
VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
PROBE = Probe(blocks=2, epochs=4, batch_size=32, rates=(1e-5, 0.05, 1.0))
LINEAR = "linear: {from: linear, metric: val/linear_split_top1}"
FASHION = "{name: fashion-mnist, train_fraction: 0.05}"


@pytest.fixture
def run(tmp_path: Path) -> LinearRun:
    data = DataConfig(name="folder", path=str(write_pictures(tmp_path / "pictures")))
    return LinearRun(model=VIT, data=data, probe=PROBE, eval_crop=1.0, seed=1)


@pytest.mark.parametrize("augment", [False, True])
def test_the_rate_is_chosen_on_training_images(
    run: LinearRun, tmp_path: Path, augment: bool
) -> None:
    run = replace(run, probe=replace(PROBE, augment=augment))
    found = run.execute(Context(tmp_path / "sweep"))
    assert found.keys() == run.metrics()
    alone, held = {}, {}  # by rate: last epoch on val, best on the held-out tenth, and best on val
    best = []
    for rate in PROBE.rates:
        one = replace(run, probe=replace(run.probe, rates=(rate,)))
        context = Context(tmp_path / f"alone-{rate}")
        assert one.execute(context)["val/linear_split_rate"] == rate
        parts: list[list[float]] = [[], []]
        for record in context.metrics:
            parts[record["part"]].append(record["linear/top1"][0])
        held[rate], alone[rate] = parts[0][-1], parts[1][-1]
        best.append(max(parts[1]))
    chosen = max(PROBE.rates, key=lambda rate: held[rate])  # the lowest of equals
    assert found == pytest.approx(
        {
            "val/linear_split_top1": alone[chosen],
            "val/linear_split_rate": chosen,
            "val/linear_best_top1": max(best),
        }
    )
    assert found["val/linear_best_top1"] > 50  # of three classes


@pytest.mark.parametrize("stop_at", [1, 4, 6])
@pytest.mark.parametrize("augment", [False, True])
def test_a_resumed_run_is_the_same(
    run: LinearRun, tmp_path: Path, stop_at: int, augment: bool
) -> None:
    run = replace(run, probe=replace(PROBE, augment=augment))
    whole = Context(tmp_path / "whole")
    expected = run.execute(whole)
    with pytest.raises(Interrupted, match=f"after epoch {stop_at} of 8"):
        run.execute(Context(tmp_path / "broken", stop_at=stop_at))
    resumed = Context(tmp_path / "broken")
    assert run.execute(resumed) == expected
    assert resumed.metrics == whole.metrics


def test_weights_whose_features_are_not_finite_are_named(run: LinearRun, tmp_path: Path) -> None:
    path = tmp_path / "huge.pth"
    state = build(VIT, 3).vit.state_dict()
    torch.save({name: value * 1e30 for name, value in state.items()}, path)
    huge = replace(VIT, weights=Weights(file=str(path), head="new"))
    for task in (
        replace(run, model=huge),
        KnnRun(model=huge, data=run.data, eval_crop=1.0, seed=0),
    ):
        with pytest.raises(
            RunFailed, match=rf"started from {path}, computes features that are not"
        ):
            task.execute(Context(tmp_path / "run"))


def test_without_a_second_set_there_is_the_papers_way_alone(run: LinearRun, tmp_path: Path) -> None:
    run = replace(run, data=replace(run.data, evaluate_on="holdout"))
    assert list(run.execute(Context(tmp_path / "run"))) == ["val/linear_best_top1"]


def test_settings_of_the_probe_do_not_touch_the_training_run(experiments: Experiments) -> None:
    rows = """
          - {id: labels, set: {probe: {blocks: 1, epochs: 3}}}
          - {id: pixels, set: {method: pixels}}"""
    with_probe = runs_of(experiments, LINEAR, rows, FASHION)
    assert [(run.task, run.title.row) for run in with_probe] == [
        ("train", "labels"),
        ("linear", "labels"),
        ("train", "labels"),
        ("linear", "labels"),
        ("linear", "pixels"),  # one run serves all seeds
    ]
    assert with_probe[4].depends == ()
    assert with_probe[1].plain["probe"]["epochs"] == 3
    without = runs_of(experiments, LINEAR, "- {id: labels, set: {probe: {blocks: 2}}}", FASHION)
    assert [run.identity for run in without[::2]] == [with_probe[i].identity for i in (0, 2)]
    assert without[1].identity != with_probe[1].identity


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ("{blocks: 4}", "linear: probe.blocks must be at most 2, the student's blocks; got 4"),
        ("{blocks: 1, epochs: 0}", "yaml:11:51: epochs: must be at least 1, got 0"),
        ("{blocks: 1, rates: []}", r"rates: must be different and above 0, got \[\]"),
        ("{blocks: 1, rates: [0.1, 0.1]}", "rates: must be different and above 0"),
        ("{blocks: 1, batch_size: 54001}", "54001 is larger than the 54000 images"),
        ("{block: 1}", "unknown key 'block'; did you mean 'blocks'"),
    ],
)
def test_settings_that_cannot_be(experiments: Experiments, probe: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        runs_of(experiments, LINEAR, f"- {{id: labels, set: {{probe: {probe}}}}}", FASHION)


@pytest.mark.parametrize("anneal", ["epoch", "step"])
def test_pixels_are_judged_by_the_same_classifier(
    tmp_path: Path, anneal: Literal["epoch", "step"]
) -> None:
    data = DataConfig(name="fashion-mnist", train_fraction=0.01)
    probe = Probe(epochs=2, batch_size=100, augment=False, rates=(0.1,), anneal=anneal)
    run = LinearRun(model=None, data=data, probe=probe, eval_crop=1.0, seed=3)
    context = Context(tmp_path / "run")
    found = run.execute(context)

    module = opened(AS_THEY_ARE, data, batch=100, crop=1.0, seed=3)
    sides = []
    for batches in (module.train_eval(500), module.val(500)):
        images, labels = zip(*batches, strict=True)
        sides.append((torch.cat(images).flatten(1).double().numpy(), torch.cat(labels).numpy()))
    (bank, labels), (queries, answers) = sides
    weight = 0.01 * torch.randn(784, 10, generator=generator(3, "probe")).double().numpy()
    bias, speed, bias_speed = np.zeros(10), np.zeros((784, 10)), np.zeros(10)
    order = Sampler(images=600, batch_size=100, repeats=1, seed=3).batches(0)
    for step in range(12):
        rows = next(order)[1].numpy()
        done = step / 12 if anneal == "step" else step // 6 / 2  # of the cosine
        rate = 0.1 * 100 / 256 * 0.5 * (1 + np.cos(np.pi * done))
        wrong = scipy.special.softmax(bank[rows] @ weight + bias, axis=1)
        wrong[np.arange(100), labels[rows]] -= 1
        speed = 0.9 * speed + bank[rows].T @ wrong / 100
        bias_speed = 0.9 * bias_speed + wrong.mean(axis=0)
        weight, bias = weight - rate * speed, bias - rate * bias_speed
    right = 100 * float(((queries @ weight + bias).argmax(axis=1) == answers).mean())
    assert context.metrics[-1]["linear/top1"][0] == pytest.approx(right, abs=0.03)
    assert found["val/linear_best_top1"] > 60
