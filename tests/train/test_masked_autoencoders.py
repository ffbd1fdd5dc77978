"""MAE and LUT through the training loop: resuming, several processes, what a run leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from harness.data.config import DataConfig
from harness.distributed import DistContext
from harness.errors import FieldError, Interrupted, RunFailed
from harness.methods import Method
from harness.methods.lut import Lut, LutHead, TwoViews
from harness.methods.mae import DECODER_FILE, Decoder, Mae
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.loop import train
from tests.train import together
from tests.train.test_loop import Context, outcome, vit

DECODER = Decoder(width=16, depth=1, heads=2)
MAE = Mae(decoder=DECODER)
RESIZED = Augment(scale=(0.2, 1.0))
LUT = Lut(decoder=DECODER, head=LutHead(hidden=24), crops=TwoViews(pad_pixels=2))
METHODS: dict[str, Method] = {"mae": MAE, "lut": LUT}


def config(method: Method, *, batch_size: int = 50, drop_path: float = 0.1) -> TrainConfig:
    augment = RESIZED if method.multicrop is None else Augment()
    return TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.005),
        student=vit(drop_path=drop_path, init="mae"),
        method=method,
        recipe=Recipe(
            epochs=1.5, batch_size=batch_size, lr=1e-3, betas=(0.9, 0.95), augment=augment
        ),
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_resumed_run_is_bit_identical(tmp_path: Path, name: str) -> None:
    method = METHODS[name]
    whole = Context(tmp_path / "whole")
    expected = outcome(whole, train(config(method), whole))
    with pytest.raises(Interrupted):
        train(config(method), Context(tmp_path / "broken", stop_at=5))
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, train(config(method), resumed)) == expected
    assert set(expected[0]) == {"features/std", "features/rank"}, "labels are not looked at"
    decoders = [load_file(run.directory / DECODER_FILE) for run in (whole, resumed)]
    assert all(value.equal(decoders[1][key]) for key, value in decoders[0].items())
    losses = [line["loss/total"] for line in whole.metrics if "loss/total" in line]
    assert losses[-1] < losses[0]


def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Of a batch of 54 one process has 26 images, the other 28."""
    trainings = [(config(method, batch_size=54), None) for method in METHODS.values()]
    found = together.train_together(trainings, tmp_path, 2)
    for at, (both, (training, _)) in enumerate(zip(found, trainings, strict=True)):
        alone = together.outcome(training, tmp_path / f"alone-{at}", DistContext())
        assert len(both["metrics"]) == len(alone["metrics"]) > 5
        for line, other in zip(alone["metrics"], both["metrics"], strict=True):
            assert_close(other, line)
        assert_close(both["result"], alone["result"])


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-3, abs=1e-4), (name, found, expected)


def test_parts_of_a_batch_give_the_loss_of_the_whole(tmp_path: Path) -> None:
    """Masks are drawn by image, so only rounding is left between the two."""
    losses = []
    for name, micro_batch in (("whole", None), ("parts", 7)):
        context = Context(tmp_path / name, micro_batch=micro_batch)
        plain = config(MAE, drop_path=0.0)
        train(plain, context)
        losses.append([line["loss/total"] for line in context.metrics if "loss/total" in line])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_batch_norm_over_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="micro_batch is 7: this method looks at the whole batch"):
        train(config(LUT), Context(tmp_path / "run", micro_batch=7))


@pytest.mark.parametrize("name", METHODS)
def test_a_classifier_cannot_be_trained_without_labels(name: str) -> None:
    plain = config(METHODS[name])
    with pytest.raises(FieldError, match="head: the method learns without labels"):
        replace(plain, student=replace(plain.student, trained="head"))
