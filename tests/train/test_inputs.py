"""Networks, augmentation and methods that do not go with spectrograms, or with pictures."""

from __future__ import annotations

from typing import Any

import pytest

from harness.data.config import DataConfig
from harness.errors import FieldError
from harness.methods.dino import Dino
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig
from harness.train.config import Augment, Recipe, TrainConfig

AST = ModelConfig(
    arch="ast_small", image_size=64, image_width=70, stride=9, width=64, depth=4, heads=2
)
DEIT = ModelConfig(arch="deit_tiny_patch16_224")
PLAIN = Augment(crop="none", flip=0.0)


YOLOS = ModelConfig(arch="yolos", image_size=56, patch_size=14, width=16, depth=2, heads=2)


def config(data: str = "fsdd", augment: Augment = PLAIN, **more: Any) -> TrainConfig:
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3, augment=augment)
    given = {"student": AST, "method": Supervised(), **more}
    return TrainConfig(data=DataConfig(name=data), recipe=recipe, **given)


def test_what_fits_is_built() -> None:
    assert config().student.shape.grid == (6, 7)
    assert config(augment=Augment(crop="none", flip=0.0, frequency_mask=64, time_mask=70))
    assert config("esc50", student=ModelConfig(arch="ast_base")).student.shape.patches == 600


@pytest.mark.parametrize(
    ("given", "field", "what"),
    [
        ({"augment": Augment()}, "recipe.augment.crop", "give `crop: none`"),
        ({"augment": Augment(crop="none")}, "recipe.augment.flip", "give `flip: 0.0`"),
        (
            {"augment": Augment(crop="none", flip=0.0, rand_augment="rand-m9")},
            "recipe.augment.rand_augment",
            "give `rand_augment: null`",
        ),
        (
            {"augment": Augment(crop="none", flip=0.0, frequency_mask=65)},
            "recipe.augment.frequency_mask",
            "must be at most 64, as many as fsdd has; got 65",
        ),
        (
            {"augment": Augment(crop="none", flip=0.0, time_mask=71)},
            "recipe.augment.time_mask",
            "must be at most 70",
        ),
        ({"student": DEIT}, "student", "takes pictures, the spectrograms of fsdd have 64 x 70"),
        (
            {"student": ModelConfig(arch="ast_small")},
            "student",
            "takes 128 x 512, the spectrograms of fsdd have 64 x 70",
        ),
        (
            {
                "data": "fashion-mnist",
                "student": DEIT,
                "augment": Augment(crop="pad", pad_pixels=28),
            },
            "recipe.augment.pad_pixels",
            "must be below the image's 28, or nothing of it may be seen; got 28",
        ),
        (
            {"data": "canvases", "student": YOLOS, "augment": Augment(photometric=0.5)},
            "recipe.augment.photometric",
            "has no effect: the images of canvases are grey; leave it out",
        ),
        ({"augment": Augment(), "method": Dino()}, "recipe.augment.crop", "spectrograms"),
        (
            {"data": "cifar10", "student": AST},
            "student",
            "'ast_small' takes spectrograms, and cifar10 has pictures",
        ),
        (
            {"data": "cifar10", "student": DEIT, "augment": Augment(time_mask=3)},
            "recipe.augment.time_mask",
            "is of spectrograms, and cifar10 has pictures",
        ),
    ],
)
def test_what_does_not_fit_is_told(given: dict[str, Any], field: str, what: str) -> None:
    with pytest.raises(FieldError, match=what) as raised:
        config(**given)
    assert raised.value.field == field


def test_pictures_are_not_scaled_beyond_all_memory() -> None:
    with pytest.raises(FieldError, match="0 < low <= high <= 16"):
        Augment(crop="scaled", scaled=(1.0, 1000.0))
