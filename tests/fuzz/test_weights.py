"""200 damaged checkpoints from one seed: each is read or refused in one sentence, none hangs."""

from __future__ import annotations

import io
import pickle
import random
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from harness.errors import HarnessError
from harness.models.config import ModelConfig, Weights
from harness.models.vit import VisionTransformer
from tests.models.networks import build
from tests.models.test_released_layouts import LAYOUTS, built

CASES = 200


def network(weights: Weights) -> VisionTransformer:
    config = ModelConfig(
        arch="vit", image_size=14, patch_size=7, width=8, depth=1, heads=2, weights=weights
    )
    return build(config, 3, channels=1, seed=0)


STATE = {name: value.clone() for name, value in network(Weights()).vit.state_dict().items()}


class Command:
    """Would leave a trace if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def torch_file(value: object, draw: random.Random) -> bytes:
    packed = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(
            value,
            packed,
            _use_new_zipfile_serialization=draw.random() < 0.6,
            pickle_protocol=draw.choice([2, 2, 2, 3, 4]),
        )
    return packed.getvalue()


def whole(draw: random.Random) -> bytes:
    if draw.random() < 0.4:
        return save(STATE)
    return torch_file(draw.choice([STATE, {"model": STATE}, {"teacher": STATE}]), draw)


def bits(draw: random.Random) -> bytes:
    content = bytearray(whole(draw))
    for _ in range(draw.choice([1, 3, 30])):
        content[int(len(content) * draw.random() ** 3)] = draw.randrange(256)
    return bytes(content)


def cut(draw: random.Random) -> bytes:
    content = whole(draw)
    return content[: draw.randrange(len(content))]


def shifted(draw: random.Random) -> bytes:
    content = whole(draw)
    at = draw.randrange(len(content))
    return content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at:]


def odd_value(draw: random.Random) -> Any:
    return draw.choice(
        [
            None,
            3,
            "text",
            float("nan"),
            torch.zeros(0),
            torch.zeros(3, 3, 3),
            torch.zeros(1).expand(10**12),
            torch.full((8,), float("inf")),
            torch.zeros(8, dtype=torch.complex128),
            torch.zeros(8, dtype=torch.int8),
            torch.zeros(8).to_sparse(),
            torch.zeros(8, device="meta"),
            {"a": {"b": {}}},
            [STATE],
            Command(),
            Path("x"),
        ]
    )


def odd_content(draw: random.Random) -> bytes:
    state: dict[Any, Any] = dict(STATE)
    for name in draw.sample(sorted(STATE), draw.randrange(4)):
        state[name] = odd_value(draw)
    if draw.random() < 0.5:
        state[draw.choice(["more", "", ".", 3, "module.patch_embed.proj.weight", "é" * 300])] = (
            odd_value(draw)
        )
    for _ in range(draw.randrange(9)):
        state = {draw.choice(["model", "teacher", "student", "", 5]): state}
    return torch_file(draw.choice([state, state, [state], odd_value(draw)]), draw)


def foreign(draw: random.Random) -> bytes:
    start = draw.choice([b"PK\x03\x04", b"\x80\x02", b"\x1f\x8b", b"<html>", b"{", b"", b"\x08"])
    return start + draw.choice([draw.randbytes(200), pickle.dumps(Command()), b"a" * 300])


MUTATIONS: list[Callable[[random.Random], bytes]] = [
    bits, bits, cut, shifted, odd_content, odd_content, foreign,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_damaged_checkpoints_are_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    read = 0
    for case in range(CASES):
        draw = random.Random(case)
        path = tmp_path / f"w{case}{draw.choice(['.pth', '.safetensors', '.bin'])}"
        path.write_bytes(draw.choice(MUTATIONS)(draw))
        try:
            model = network(Weights(file=str(path), head=draw.choice(["own", "new"])))
        except HarnessError as error:
            text = str(error)
            assert "\n" not in text, (case, text)
            assert str(path) in text, (case, text)
            advises = "weights_only=False" in text
            assert not advises or re.search("holds .* beside tensors", text), (case, text)
            assert "exec" not in text or "python -c" not in text, (case, text)
        else:
            read += 1
            assert all(bool(torch.isfinite(value).all()) for value in model.parameters()), case
    assert 0 < read < CASES / 2


def odd_shape(value: torch.Tensor, draw: random.Random) -> torch.Tensor:
    return draw.choice(
        [
            torch.ones(0),
            torch.ones(()),
            torch.ones(3),
            torch.ones(1, 3, 3, 3),
            torch.ones(*(side + 1 for side in value.shape)),
            value[None],
            value.flatten(),
            value[:0] if value.dim() else value,
            value[..., :1] if value.dim() else value,
            value.transpose(0, -1) if value.dim() > 1 else value,
        ]
    )


def test_a_file_of_another_system_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    """Of any system, with parameters of other shapes, fewer or more, for a network of any."""
    states = {
        name: {key: value.clone() for key, value in built(layout.config).vit.state_dict().items()}
        for name, layout in LAYOUTS.items()
    }
    read = 0
    for case in range(CASES):
        draw = random.Random(case)
        source, target = draw.choice(list(LAYOUTS)), LAYOUTS[draw.choice(list(LAYOUTS))]
        state = dict(states[source])
        telling = [name for name in state if "embed" in name or "token" in name or "head" in name]
        for name in draw.sample(telling, draw.randrange(min(3, len(telling)))):
            odd = odd_shape(state.pop(name), draw)
            if draw.random() < 0.7:
                state[name] = odd
        path = tmp_path / "it.pth"
        torch.save(draw.choice([LAYOUTS[source].saved, dict])(state), path)
        weights = Weights(file=str(path), head=draw.choice(["own", "new", "new"]))
        try:
            built(replace(target.config, weights=weights))
        except HarnessError as error:
            said = str(error)
        else:
            said, read = str(path), read + 1
        assert "\n" not in said, (case, said)
        assert str(path) in said, (case, said)
    assert CASES / 20 < read < CASES / 2
