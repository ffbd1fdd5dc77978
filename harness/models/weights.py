"""Files of weights: safetensors, and the checkpoints that papers' code leaves (.pth, .pt)."""

from __future__ import annotations

import argparse
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from harness.errors import WeightsError

PICKLED: Final = (".pth", ".pt")
INSIDE: Final = ("model", "state_dict", "teacher")
"""Under which key a checkpoint has its network: MAE, DeiT and G2SD, iBOT's backbones, DINO's and
iBOT's training checkpoints, in this order. Of two networks that learn from each other the teacher
is the one that is judged."""
WRAPPERS: Final = ("module.", "backbone.", "encoder.")
"""What the modules around a network put before the names of its parameters."""
BESIDE: Final = (
    r"head\.(mlp|last_layer|center)|masked_embed$|mask_token$|decoder_|(en|de)coderfeature_pred\."
)
"""Parameters beside the encoder and its classifier: projection heads (DINO, iBOT), embeddings of
hidden patches, MAE's decoder, and what G2SD's first stage compares with a teacher."""


def read_weights(path: Path, content: bytes) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The parameters by their names in timm, and what the file says of them.

    `content` is what `path` holds. Raises WeightsError where that is not whole, or holds more than
    tensors and plain values: nothing else is ever unpickled.
    """
    if path.suffix in PICKLED:
        return _parameters(_unpickled(path, content), path), {}
    try:
        with safe_open(path, framework="pt") as opened:
            names = opened.keys()
            return {name: opened.get_tensor(name) for name in names}, opened.metadata() or {}
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}); fetch or train it again"
        ) from error


def _unpickled(path: Path, content: bytes) -> Any:
    try:
        # the options of a command, which nearly all published checkpoints have beside the weights
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise WeightsError(
            f"{path}: holds {named[1] if named else 'something'} beside tensors, and unpickling "
            "that could run any code. If you trust the file, convert it: "
            f"{_conversion(path)}, and give {path.with_suffix('.safetensors').name}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        raise WeightsError(
            f"{path}: not a whole torch checkpoint ({reason}); fetch or train it again"
        ) from error


def _conversion(path: Path) -> str:
    lines = (
        "import torch",
        "from safetensors.torch import save_file",
        f"state = torch.load('{path.name}', map_location='cpu', weights_only=False)['model']",
        "state = {name: value.clone().contiguous() for name, value in state.items()}",
        f"save_file(state, '{path.with_suffix('.safetensors').name}')",
    )
    return f'python -c "{"; ".join(lines)}" (or another key than model)'


def _parameters(found: Any, path: Path) -> dict[str, Tensor]:
    """Those of the network that is meant, without wrappers' prefixes and what is beside it."""
    keys = list(found) if isinstance(found, Mapping) else []
    inside = next((key for key in INSIDE if isinstance(found, Mapping) and key in found), None)
    state = found if inside is None else found[inside]
    named = dict(state) if isinstance(state, Mapping) else {}
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        has = ", ".join(map(str, keys[:8])) or f"a {type(found).__name__}"
        raise WeightsError(
            f"{path}: has no parameters by name, itself or under {', '.join(INSIDE)}: it has {has}"
        )
    renamed: dict[str, Tensor] = {}
    for name, value in tensors.items():
        plain = _unwrapped(name)
        if re.match(BESIDE, plain):
            continue
        if plain in renamed:
            raise WeightsError(f"{path}: holds more than one network: {plain} twice")
        renamed[plain] = value
    return renamed


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name
