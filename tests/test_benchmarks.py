"""What the benchmarks of steps are held against computes the same losses as this package, and their
page says what was measured.
"""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from harness.masking.views.attmask import AttMaskHigh, AttMaskHint
from harness.masking.views.block import BlockWise
from harness.methods import Batch, Networks, Step
from harness.methods.dino import Dino
from harness.methods.distillation import Distillation, Mask
from harness.methods.ibot import Ibot
from harness.methods.selfdistillation.config import SelfDistillation
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.models.families import known_architectures
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer
from tests.methods.test_dino import SMALL, batch, objective, step
from tests.models.networks import build, shake

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    yield
    for name in set(sys.modules) & {"products", "plain_masked", "plain_selfdistillation"} - before:
        del sys.modules[name]


@pytest.mark.parametrize("fused", [False, True])
def test_a_plain_masked_step_has_the_same_loss_and_gradients(fused: bool) -> None:
    from plain_masked import PlainMaskedKD

    sizes: dict[str, Any] = {"image_size": 32, "patch_size": 8, "depth": 3}
    torch.manual_seed(0)
    ours, plain = [], []
    for width, heads in ((24, 3), (32, 4)):
        config = ModelConfig(arch="vit", width=width, heads=heads, **sizes)
        network = shake(build(config))
        vit = timm.create_model(
            "vit_tiny_patch16_224",
            img_size=32,
            patch_size=8,
            depth=3,
            embed_dim=width,
            num_heads=heads,
            num_classes=7,
        )
        vit.load_state_dict(network.vit.state_dict())
        ours.append(network)
        plain.append(vit)
    images, targets = torch.randn(5, 3, 32, 32), torch.rand(5, 7).softmax(dim=1)
    built = Distillation(mask=Mask(keep=6)).build(
        Networks(student=ours[0].train(), teacher=freeze(ours[1]))
    )
    expected = built.losses(
        Batch(images=images, targets=targets),
        Step(index=0, total=1, generator=torch.Generator()),
    )["total"]
    loss = PlainMaskedKD(*plain, keep=6, fused=fused).loss(images, targets)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    loss.backward()
    expected.backward()
    for name, parameter in plain[0].named_parameters():
        torch.testing.assert_close(
            parameter.grad, ours[0].vit.get_parameter(name).grad, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("keep", [196, 98])
def test_products_of_a_step_have_the_multiply_adds_that_are_counted(keep: int) -> None:
    from products import embedding, of_step

    student, teacher = (
        known_architectures()[f"deit_{size}_patch16_224"] for size in ("tiny", "small")
    )
    products = of_step(student, teacher, keep, batch=8, classes=1000)
    counted = sum(product.macs * times for product, times in products.items())
    passes = 3 * efficient_macs(student, keep=196, classes=1000).total
    taught = efficient_macs(teacher, keep=keep, classes=1000).total
    of_images = embedding(student, 196, 8).macs  # the gradient that nobody needs
    assert counted + of_images == 8 * (passes + taught)


METHODS: list[SelfDistillation] = [
    Dino(**SMALL),
    *(
        Ibot(**SMALL, mask=mask, cls_weight=0.7)
        for mask in (BlockWise(), AttMaskHigh(), AttMaskHint(ratio=(0.4, 0.8), show=0.5))
    ),
]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_plain_self_distillation_has_the_same_losses(method: SelfDistillation, fused: bool) -> None:
    from plain_selfdistillation import PlainDino, PlainIbot

    built, data = objective(method), batch()
    if isinstance(method, Ibot):
        with torch.no_grad():
            built.token.mask_token.normal_()
            built.patch_center.value = torch.randn_like(built.patch_center.value) * 0.1
    recipe = Recipe(epochs=4, batch_size=6, lr=1e-3)
    optimizer = build_optimizer(built.modules, recipe, decay_tokens=True)
    for group in optimizer.param_groups:
        group["lr"] = recipe.peak_lr
    plain = (PlainIbot if isinstance(method, Ibot) else PlainDino)(built, recipe, fused=fused)
    for index in (8, 9, 10, 11):  # prototypes begin to move, the temperature rises
        ours = built.losses(data, step(index))["total"]
        loss = float(plain.step(data.views, step(index)))
        assert loss == pytest.approx(float(ours.detach()), rel=1e-4), index
        ours.backward()
        built.before_update(step(index), optimizer)
        optimizer.step()
        optimizer.zero_grad()
        built.after_step(step(index))


def test_a_made_up_store_is_planned_shown_and_reported(tmp_path: Path) -> None:
    few = ("--runs=20", "--seeds=2", "--lines=20", "--turns=1", f"--csv={tmp_path / 'found.csv'}")
    program = (sys.executable, str(ROOT / "benchmarks/many_runs.py"), *few)
    ended = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    with (tmp_path / "found.csv").open() as file:
        commands = [line["command"] for line in csv.DictReader(file)]
    assert commands[-1] == "report, all formats"


def test_the_page_of_speed_is_up_to_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    writer = importlib.import_module("write_performance")
    assert (ROOT / "docs/performance.md").read_text() == writer.page(), "run `make docs`"
    masked, _ = writer.BENCHMARKS
    path = tmp_path / writer.MACHINES["AMD EPYC"] / masked.results
    path.parent.mkdir(parents=True)
    line = {"step": "batch 8, plain", "ms": 741.2, "against": "batch 8, keep 98", "its ms": 600.4}
    with path.open("w") as file:
        lines = csv.DictWriter(file, [*line, "ratio", "min", "max", "by multiply-adds"])
        lines.writeheader()
        lines.writerow(line | {"ratio": 1.234, "min": 1.1, "max": 1.25})
        fewer = line | {"step": "batch 8, keep 49", "ratio": 0.8, "min": 0.7, "max": 0.9}
        lines.writerow(fewer | {"by multiply-adds": 0.8124})
    text = writer.page(tmp_path)
    plain = "| batch 8, plain | batch 8, keep 98 | 741 : 600 | 1.23 (1.10 to 1.25) "
    assert f"{plain}|  | not measured | goal: 1.30, not met |" in text
    assert "| 0.80 (0.70 to 0.90) |  | not measured | by multiply-adds 0.81 |" in text
    assert "| batch 16, plain | | | not measured | | not measured | goal: 1.30 |" in text
    assert writer.met(1.2, {"A": 1.25, "B": 1.1}) == "met on A alone"
