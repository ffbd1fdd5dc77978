"""The task `reconstruction`, and a table of masked autoencoders from its spec to its report."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save

from harness.batch_slice import FULL_BATCH
from harness.cli import main
from harness.data import open_dataset
from harness.errors import WeightsError
from harness.methods import Networks
from harness.methods.mae import DECODER_FILE, MaeObjective, random_order
from harness.methods.untrained import Untrained
from harness.models.config import Weights
from harness.report.collect import collect
from harness.report.figures import draw
from harness.seeding import generator
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from harness.tasks.reconstruction import ReconstructionRun, load_decoder
from harness.train.evaluation_data import open_evaluation_data
from harness.train.loop import train
from tests.conftest import TINY_VIT, Experiments
from tests.methods.mae_reference import decode, doubled, encode
from tests.methods.test_mae import objective
from tests.tasks.pictures import write_pictures
from tests.train.test_loop import Context
from tests.train.test_masked_autoencoders import LUT, MAE, config


def pixels(png: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image, dtype=np.float64)


def test_the_guess_is_the_decoders_in_its_place(tmp_path: Path) -> None:
    before, after = Context(tmp_path / "mae"), Context(tmp_path / "run")
    training = replace(config(MAE), seed=2)
    train(training, before)
    student = replace(training.student, weights=Weights(run="mae"))
    run = ReconstructionRun.of(replace(training, student=student))
    assert run is not None
    after.dependencies = {"mae": before.directory}
    metrics = run.execute(after)
    assert metrics.keys() == run.metrics()
    assert 0.3 < metrics["reconstruction/error"] < 1.2
    assert 0.5 < metrics["reconstruction/error_of_means"] < 1

    student = open_evaluation_data(
        run.data, image_size=28, eval_crop=1.0, seed=2, context=after
    ).network(run.model, seed=2)
    built = MaeObjective(MAE, Networks(student=student, teacher=None))
    built.decoder.load_state_dict(load_file(before.directory / DECODER_FILE))
    weights, decoder = doubled(built.student.vit, False), doubled(built.decoder, False)
    data = open_dataset(run.data)
    order = random_order(500, 16, generator(2, "reconstruction", 0), FULL_BATCH)
    labels = data.load().val.labels[:500].tolist()
    for picture in json.loads((tmp_path / "run" / "reconstruction.json").read_text())["pictures"]:
        number = labels.index(picture["label"])
        original, guess = pixels(picture["original"]), pixels(picture["guess"])
        keep = order[number, :4]
        image = torch.tensor((original / 255 - data.mean[0]) / data.std[0])[None]
        tokens = encode(built.student, weights, image.float(), keep)
        guesses = decode(built, decoder, tokens, keep).numpy()
        for place in range(16):
            at = np.s_[place // 4 * 7 : place // 4 * 7 + 7, place % 4 * 7 : place % 4 * 7 + 7]
            true, seen = image[0].numpy()[at], place in keep.tolist()
            assert np.array_equal(original[at], guess[at]) or not seen
            wanted = guesses[place].reshape(7, 7) * true.std(ddof=1) + true.mean()
            shown = 255 * (wanted * data.std[0] + data.mean[0])
            if not seen:
                np.testing.assert_allclose(guess[at], shown.clip(0, 255), atol=0.8)
            assert seen or bool((pixels(picture["masked"])[at] == 128).all())


def test_rows_without_a_decoder_have_none(tmp_path: Path) -> None:
    assert ReconstructionRun.of(replace(config(MAE), method=Untrained())) is None
    student = replace(config(LUT).student, weights=Weights(run="lut"))
    run = ReconstructionRun.of(replace(config(LUT), student=student))
    assert run is not None
    assert run.method == MAE


def test_a_file_that_is_not_the_decoder_is_told(tmp_path: Path) -> None:
    path = tmp_path / DECODER_FILE
    for content in (None, b"no tensors", save({"other": torch.zeros(1)})):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(WeightsError, match="not the decoder that this training left") as told:
            load_decoder(objective(MAE), path)
        assert "\n" not in str(told.value)


def test_a_table_of_masked_autoencoders_from_its_spec_to_its_report(
    experiments: Experiments,
) -> None:
    write_pictures(experiments.root / "pictures")
    experiments.table(
        "self/mae",
        f"""
        paper: {{title: A table}}
        columns:
          tuned: {{from: finetune, metric: val/top1}}
          error: {{from: reconstruction, metric: reconstruction/error}}
          rank: {{from: layers, metric: layers/rank}}
        base:
          recipe: {{from: light, batch_size: 25, epochs: 2}}
          data: {{name: folder, path: pictures}}
          student: {{{TINY_VIT}, channels: 3, init: mae}}
          method: {{name: mae, decoder: {{width: 16, depth: 1, heads: 2}}}}
          finetune:
            recipe: {{from: light, batch_size: 25, epochs: 2, layer_decay: 0.75}}
            arch: mae_base_patch16_224
        rows:
          - {{id: mae}}
          - id: lut
            set:
              method:
                name: lut
                decoder: {{width: 16, depth: 1, heads: 2}}
                head: {{hidden: 16}}
              recipe: {{epochs: 2, batch_size: 25, lr: 1e-3, augment: null}}
          - {{id: untrained, set: {{method: untrained}}}}
          - {{id: pixels, set: {{method: pixels}}}}
        profiles:
          smoke: {{description: small, seeds: [0]}}
        """,
    )
    assert main(["run", "self/mae", "--profile", "smoke"]) == 0
    expansion = expand(load_table("self/mae"), "smoke")
    model = collect(expansion, Store(experiments.root / "results"))
    shown = {(row.id, cell.column) for row in model.rows for cell in row.cells if cell.values}
    every = {(row, "tuned") for row in ("mae", "lut", "untrained")}
    every |= {(row, "rank") for row in ("mae", "lut", "untrained")}
    assert shown == every | {("mae", "error"), ("lut", "error")}
    for name in ("reconstructions", "layers"):
        with Image.open(io.BytesIO(draw(name, model, format="png"))) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 50  # not an empty page
