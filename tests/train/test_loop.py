"""The training loop on real images: resuming, accumulating and failing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from harness.data import fingerprint
from harness.data.config import DataConfig
from harness.data.module import DataModule
from harness.distributed import DistContext
from harness.errors import Interrupted, RunFailed, StoppedAlone, WeightsError
from harness.methods import Method
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.manifold import Manifold
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig, Weights
from harness.run import Resources
from harness.seeding import seed_unnamed
from harness.tasks.train import OF_BOXES, OF_MASKS, TrainRun
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.loop import train
from tests.models.networks import build


class Context:
    """A run directory without leases: what the loop itself needs, nothing shared with the store's
    code.
    """

    def __init__(
        self, directory: Path, *, stop_at: int | None = None, micro_batch: int | None = None
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.resources = Resources(device="cpu", micro_batch=micro_batch)
        self.dependencies: Mapping[str, Path] = {}
        self.dist, self.rendezvous_store = DistContext(), None
        self.stop_at, self.done = stop_at, 0
        self.metrics: list[dict[str, Any]] = []
        self.speeds: list[dict[str, float]] = []  # of the machine: no run gives them twice
        self.logged: list[str] = []
        self.doubts: list[Callable[[], str | None]] = []

    def log(self, message: str) -> None:
        """Kept."""
        self.logged.append(message)

    def metric(self, record: Mapping[str, Any]) -> None:
        """Kept as the text a file would hold."""
        kept = json.loads(json.dumps(record))
        if "speed" in kept:
            self.speeds.append(kept.pop("speed"))
        self.metrics.append(kept)

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """Remembered for `should_stop`."""
        self.done = done

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """Checkpoint and metrics together."""
        write(self.directory / "checkpoint.pt")
        (self.directory / "metrics.json").write_text(json.dumps(self.metrics))

    def restore_checkpoint(self) -> Path | None:
        """What `save_checkpoint` left."""
        path = self.directory / "checkpoint.pt"
        if not path.exists():
            return None
        self.metrics = json.loads((self.directory / "metrics.json").read_text())
        return path

    def save_artifact(self, name: str, write: Callable[[Path], None]) -> None:
        """Under its name."""
        write(self.directory / name)

    def before_result(self, why_not: Callable[[], str | None]) -> None:
        """Kept."""
        self.doubts.append(why_not)

    def should_stop(self) -> bool:
        """At the step the test asks for."""
        return self.done == self.stop_at


def vit(width: int = 16, **more: Any) -> ModelConfig:
    return ModelConfig(
        arch="vit", image_size=28, patch_size=7, width=width, depth=2, heads=2, **more
    )


def config(method: Method | None = None, **recipe: Any) -> TrainConfig:
    method = method or Distillation(mask=Mask(keep=6))
    augment = Augment(
        crop="pad", pad_pixels=2, mixup=0.8, cutmix=1.0, erasing=0.25, label_smoothing=0.1
    )
    return TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.01),
        student=vit(drop_path=0.2),
        teacher=vit(24) if method.uses_teacher else None,
        method=method,
        recipe=Recipe(**{"epochs": 2, "batch_size": 50, "lr": 1e-3, "augment": augment, **recipe}),
    )


def outcome(context: Context, result: Mapping[str, float]) -> tuple[Any, ...]:
    weights = load_file(context.directory / "model.safetensors")
    return result, context.metrics, {name: value.tolist() for name, value in weights.items()}


# 12 steps an epoch: inside, at its end, after it, before the last
@pytest.mark.parametrize("stop_at", [1, 7, 12, 13, 23])
def test_a_resumed_run_is_bit_identical(tmp_path: Path, stop_at: int) -> None:
    whole = Context(tmp_path / "whole")
    expected = outcome(whole, train(config(), whole))
    with pytest.raises(Interrupted):
        train(config(), Context(tmp_path / "broken", stop_at=stop_at))
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, train(config(), resumed)) == expected


def test_unnamed_draws_are_those_of_torchs_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2**62 + 5)
    expected = torch.rand(3).tolist()
    monkeypatch.setattr("traceback.format_stack", lambda: pytest.fail("time for nothing"))
    seed_unnamed(2**62 + 5, torch.device("cpu"))
    assert torch.rand(3).tolist() == expected


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        context = Context(tmp_path / name)
        found.append(outcome(context, train(replace(config(), seed=seed), context)))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_accumulation_gives_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    # without stochastic depth: its draws are per forward pass
    plain = replace(config(Supervised(), epochs=0.25), student=vit())
    losses = []
    for name, micro_batch in (("whole", None), ("parts", 13)):
        context = Context(tmp_path / name, micro_batch=micro_batch)
        train(plain, context)
        losses.append(
            [record["loss/total"] for record in context.metrics if "loss/total" in record]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 3


def test_a_loss_over_groups_is_the_same_in_parts_of_whole_groups(tmp_path: Path) -> None:
    """Draws of patches, kept patches and groups are those of the whole batch: weights too."""
    manifold = replace(
        config(Distillation(loss=Manifold(group=10, samples=16), mask=Mask(keep=6)), epochs=0.25),
        student=vit(drop_path=0.2),
        teacher=vit(24),
    )
    found = []
    for name, micro_batch in (("whole", None), ("parts", 27)):  # 2 of the 5 groups at once
        context = Context(tmp_path / name, micro_batch=micro_batch)
        train(manifold, context)
        losses = [record["loss/distill"] for record in context.metrics if "loss/distill" in record]
        found.append((losses, load_file(context.directory / "model.safetensors")))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert len(found[0][0]) == 3
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


def test_a_loss_over_groups_is_not_computed_in_parts_of_them(tmp_path: Path) -> None:
    for group, least in ((128, 50), (20, 20)):
        manifold = replace(
            config(Distillation(loss=Manifold(group=group)), epochs=0.25),
            student=vit(),
            teacher=vit(),
        )
        with pytest.raises(RunFailed, match=f"micro_batch is 13: .* compares {least} images"):
            train(manifold, Context(tmp_path / "parts", micro_batch=13))


def test_the_result_has_the_names_that_columns_may_ask_for(tmp_path: Path) -> None:
    method = Distillation(mask=Mask(keep=6), teacher_accuracy=True)
    result = train(config(method, epochs=0.1), Context(tmp_path / "run"))
    unlabelled = {"features/std", "features/rank", "val/knn20_top1"}
    assert result.keys() == TrainRun.metrics() - unlabelled - {*OF_BOXES, *OF_MASKS}


def test_training_learns(tmp_path: Path) -> None:
    learnt = TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.1),
        student=vit(32),
        method=Supervised(),
        recipe=Recipe(
            epochs=4, batch_size=50, lr=2e-3, warmup_epochs=0.2, augment=Augment(crop="none")
        ),
    )
    context = Context(tmp_path / "run")
    result = train(learnt, context)
    assert result["val/top1"] > 65  # chance is 10
    assert result["val/top5"] > result["val/top1"]
    assert context.metrics[-1]["val/top1"] == result["val/top1"]
    assert sum("loss/total" in record for record in context.metrics) == 40


def test_a_loss_that_is_not_finite_fails_the_run_and_saves_nothing(tmp_path: Path) -> None:
    context = Context(tmp_path / "run")
    with pytest.raises(
        RunFailed, match=r"the loss is (nan|inf) at step \d+ of 24; lower `recipe.lr`"
    ):
        train(config(Supervised(), lr=1e30), context)
    assert not (context.directory / "checkpoint.pt").exists()
    assert not (context.directory / "model.safetensors").exists()


def test_evaluations_fall_on_epochs(tmp_path: Path) -> None:
    context = Context(tmp_path / "run")
    train(config(Supervised(), epochs=3, evaluate_every=2), context)
    assert [record["epoch"] for record in context.metrics if "val/top1" in record] == [2.0, 3.0]


def test_evaluations_may_fall_within_epochs(tmp_path: Path) -> None:
    context = Context(tmp_path / "run")
    train(config(Supervised(), epochs=1, evaluate_every=0.25), context)
    steps = [record["step"] for record in context.metrics if "val/top1" in record]
    assert steps == [3, 6, 9, 12]


def test_kept_shares_are_written_over_training(tmp_path: Path) -> None:
    context = Context(tmp_path / "run")
    train(config(), context)
    kept = [record["kept"] for record in context.metrics if "kept" in record]
    assert len(kept) == 8
    for shares in kept:
        assert len(shares) == 16
        assert sum(shares) == pytest.approx(6)  # six patches of every image


@pytest.mark.parametrize("cut", [0, 1000, -100])
def test_a_checkpoint_cut_short_is_one_clear_error(tmp_path: Path, cut: int) -> None:
    context = Context(tmp_path / "run", stop_at=3)
    with pytest.raises(Interrupted):
        train(config(), context)
    path = context.directory / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(WeightsError, match="not a whole checkpoint of this run"):
        train(config(), Context(tmp_path / "run"))


def test_reduced_precision_stays_close(tmp_path: Path) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        context = Context(tmp_path / precision)
        train(config(Supervised(), epochs=1, precision=precision), context)
        losses.append(
            [record["loss/total"] for record in context.metrics if "loss/total" in record]
        )
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    from harness.models.build import save_model
    from harness.models.config import Weights

    path = tmp_path / "weights.safetensors"
    save_model(build(vit(24), 10, channels=1, seed=0), path)
    loaded = build(vit(24, weights=Weights(file=str(path))), 10, channels=1)
    assert torch.equal(loaded.vit.head.weight, load_file(path)["head.weight"])
    with pytest.raises(
        WeightsError, match=r"weights of another model: \d+ of \d+ parameters differ"
    ):
        build(vit(32, weights=Weights(file=str(path))), 10, channels=1)
    wrong = Weights(file=str(path), sha256="0" * 64)
    with pytest.raises(WeightsError, match="SHA-256 is"):
        build(vit(24, weights=wrong), 10, channels=1)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        build(vit(24, weights=Weights(file=str(path))), 10, channels=1)


def pictures(root: Path, classes: list[str]) -> DataConfig:
    """A folder of two images a class, which both train and judge."""
    for split in ("train", "val"):
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number in range(2):
                picture = Image.new("RGB", (28, 28), (label * 20, 9, 9))
                picture.save(root / split / name / f"{number}.png")
    return DataConfig(name="folder", path=str(root))


@pytest.mark.parametrize("head", ["own", "new"])
@pytest.mark.parametrize("last", ["11", "x"])
def test_numbered_classes_and_a_classifier_from_elsewhere(
    tmp_path: Path, head: Literal["own", "new"], last: str
) -> None:
    data = pictures(tmp_path / "set", ["1", "2", "10", last])
    made = Context(tmp_path / "made")
    plain = TrainConfig(
        data=data,
        student=vit(channels=3),
        method=Supervised(),
        recipe=Recipe(epochs=1, batch_size=8, lr=1e-3),
    )
    train(plain, made)
    assert not [line for line in made.logged if line.startswith("warning")]
    file = str(made.directory / "model.safetensors")
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    student = vit(channels=3, weights=Weights(file=file, sha256=sha256, head=head))
    context = Context(tmp_path / "tuned")
    train(replace(plain, student=student), context)
    warned = [line for line in context.logged if line.startswith("warning: the student's weights")]
    assert len(warned) == (head == "own" and last == "11")
    assert all("as texts (1, 10, 11, 2, ...)" in line for line in warned)


def test_a_result_is_not_kept_where_images_have_changed(tmp_path: Path) -> None:
    data = pictures(tmp_path / "set", ["cat", "dog"])
    plain = TrainConfig(
        data=replace(data, version=fingerprint(data)),
        student=vit(channels=3),
        method=Supervised(),
        recipe=Recipe(epochs=1, batch_size=4, lr=1e-3),
    )
    context = Context(tmp_path / "run")
    train(plain, context)
    (why_not,) = context.doubts
    assert why_not() is None
    (tmp_path / "set/val/cat/0.png").unlink()
    assert "set: the images changed while the run read them" in str(why_not())


def test_a_stop_while_no_images_come_saves_where_the_run_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From there it goes on as if it had never stopped."""
    whole = Context(tmp_path / "whole")
    expected = outcome(whole, train(config(), whole))

    def starved(module: DataModule, start: int = 0) -> Iterator[Any]:
        yield from islice(batches(module, start), 5)
        raise StoppedAlone("while it waited for images")

    batches = DataModule.train
    with monkeypatch.context() as patch:
        patch.setattr(DataModule, "train", starved)
        with pytest.raises(Interrupted, match="at step 5 of 24, while it waited for images"):
            train(config(), Context(tmp_path / "broken"))
    resumed = Context(tmp_path / "broken")
    assert outcome(resumed, train(config(), resumed)) == expected
