"""Which network of a file is meant, and its parameters under the names that timm gives them.

Papers' code leaves checkpoints in many layouts: under `model`, `state_dict` or `teacher`, with the
prefixes of what was wrapped around the network. All of them end in timm's own names, so a network
is found by those: wherever the file has the patch embedding, one begins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from harness.errors import WeightsError, unknown
from harness.models.files import open_weights

ANCHOR: Final = "patch_embed.proj.weight"
"""A parameter that every network of the catalogue has, once."""
DEEPEST: Final = 6  # mappings in mappings
BESIDE: Final = (
    r"head\.(mlp|last_layer|center|\d+\.)|masked_embed$|mask_token$|decoder_"
    r"|(en|de)coderfeature_pred\.|.*\.(attn_mask|relative_position_index)$"
)
"""Parameters beside the encoder and its classifier: projection heads (DINO, MoCo v3), embeddings of
hidden patches, MAE's decoder, what G2SD's first stage compares with a teacher, and tables that
follow from the shape."""
OTHERS: Final[Mapping[str, str]] = {
    "patch_embeddings.projection.weight": "Hugging Face's transformers",
    "conv_proj.weight": "torchvision",
}
"""Parameters by which networks of other libraries are told."""
_WRAPPERS: Final = re.compile(
    r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
"""What torch's wrappers put anywhere into a name: compile, FSDP, activation checkpointing."""
_CHUNK: Final = re.compile(r"(?<![^.])blocks\.\d+\.(\d+)\.")  # DINOv2's, of FSDP
_SCALE: Final = re.compile(r"\.gamma_([12])$")  # DeiT-III's LayerScale, as released
_FLOATS: Final = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """A network in the file: the mapping that holds it, and the prefix of its names there."""

    path: tuple[str, ...]  # keys that lead to the mapping
    prefix: str  # empty, or ends with a dot
    tensors: Mapping[str, Tensor]  # of the whole mapping, without wrappers

    @property
    def key(self) -> str:
        """What `weights: {key: ...}` calls it."""
        return ".".join([*self.path, *filter(None, self.prefix.split("."))])

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"under '{self.key}'" if self.key else "at the top of the file"


def read_weights(
    path: Path, content: bytes, *, wanted: Mapping[str, tuple[int, ...]], key: str | None = None
) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The parameters by their names in timm, and what the file says of them.

    `content` is what `path` holds, `wanted` the network's own names with their shapes, `key` says
    which network is meant where there are several. Raises WeightsError where the file is not whole,
    holds more than tensors and plain values, or no network or several.
    """
    loaded, about = open_weights(path, content)
    chosen = _chosen(list(_candidates(loaded, path)), key, loaded, path)
    return _parameters(chosen, wanted, path), about


def _candidates(loaded: Any, path: Path) -> Iterator[_Candidate]:
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), loaded)]
    while waiting:
        keys, mapping = waiting.pop(0)
        if not isinstance(mapping, Mapping) or id(mapping) in seen:
            continue  # a pickle can hold one mapping many times, or itself
        seen.add(id(mapping))
        if len(keys) < DEEPEST:
            waiting += [((*keys, str(key)), inner) for key, inner in mapping.items()]
        tensors = _unwrapped(mapping, path)
        for name in tensors:
            prefix, anchor, rest = name.rpartition(ANCHOR)
            if anchor and not rest and (not prefix or prefix.endswith(".")):
                yield _Candidate(path=keys, prefix=prefix, tensors=tensors)


def _unwrapped(mapping: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Its tensors, by their names without wrappers."""
    tensors: dict[str, Tensor] = {}
    called: dict[str, str] = {}
    for name, value in mapping.items():
        if not isinstance(value, Tensor):
            continue
        plain = _WRAPPERS.sub("", str(name))
        if plain in tensors and not _equal(tensors[plain], value):
            raise WeightsError(
                f"{path}: holds {called[plain]} and {name}, which are one parameter with different "
                "values: give a checkpoint that has it once"
            )
        tensors[plain], called[plain] = value, str(name)
    return tensors


def _equal(one: Tensor, other: Tensor) -> bool:
    try:
        return torch.equal(one, other)
    except RuntimeError:  # torch compares no sparse tensors, nor those without values
        return False


def _of_another_library(found: Any) -> str:
    """Whose names these are, if they are well known, and what to do."""
    mappings = [found, *found.values()] if isinstance(found, Mapping) else []
    names = [str(name) for one in mappings if isinstance(one, Mapping) for name in one]
    for part, library in OTHERS.items():
        if any(part in name for name in names):
            return (
                f". These are the names of {library}: take the same network from timm (`hub`), or "
                "rename its parameters, as timm's own conversion of such files does"
            )
    return ""


def _chosen(
    candidates: Sequence[_Candidate], key: str | None, loaded: Any, path: Path
) -> _Candidate:
    keys = sorted({candidate.key for candidate in candidates})
    if not candidates:
        raise WeightsError(
            f"{path}: holds no network of timm's names: no parameter is called {ANCHOR}, or ends "
            f"with .{ANCHOR}; it has {_contents(loaded)}{_of_another_library(loaded)}"
        )
    fitting = [one for one in candidates if one.key == key] or [
        one for one in candidates if key is None or f"{one.key}.".startswith(f"{key}.")
    ]
    if not fitting:
        raise WeightsError(f"{path}: weights.key: {unknown('network', str(key), keys)}")
    if len(fitting) > 1:
        # of two that learn from each other the teacher is the one that is judged
        rest = [one for one in fitting if not _named(one, "student")]
        if len(rest) == 1 and _named(rest[0], "teacher"):
            fitting = rest
    if len(fitting) > 1:
        counted = Counter(one.key for one in fitting)
        named = ", ".join(one.key or "(top)" for one in fitting)
        single = next((one for one, count in counted.items() if one and count == 1), None)
        raise WeightsError(
            f"{path}: holds {len(fitting)} networks: {named}; "
            + (
                "no key tells them apart: save the one that is meant in a file of its own"
                if single is None
                else f"say which: `weights: {{file: ..., key: {single}}}`"
            )
        )
    return fitting[0]


def _named(candidate: _Candidate, word: str) -> bool:
    return word in candidate.key.split(".")


def _contents(loaded: Any) -> str:
    if not isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__}"
    names = [f"{key}.{name}" for key, inner in loaded.items() for name in _first(inner)]
    return _some(names or [str(key) for key in loaded], 6) or "nothing"


def _first(inner: Any) -> list[str]:
    return [str(name) for name in list(inner)[:2]] if isinstance(inner, Mapping) else []


def _parameters(
    chosen: _Candidate, wanted: Mapping[str, tuple[int, ...]], path: Path
) -> dict[str, Tensor]:
    """Those of `chosen`, and a classifier that stands beside it in the same mapping."""
    renamed: dict[str, Tensor] = {}
    for name, value in chosen.tensors.items():
        if not name.startswith(chosen.prefix):
            continue
        plain = _plain(name.removeprefix(chosen.prefix), wanted)
        if re.match(BESIDE, plain) and plain not in wanted:
            continue
        if plain in renamed:
            raise WeightsError(
                f"{path}: holds {plain} twice {chosen.place}: blocks that are counted anew in "
                "every part cannot be put together; give the checkpoint of the whole network"
            )
        renamed[plain] = value
    outer = chosen.prefix
    while outer:
        outer = outer[: outer[:-1].rfind(".") + 1]
        for name in wanted.keys() - renamed.keys():
            for called in (name, f"mlp_{name}"):  # AST's classifier is called `mlp_head`
                if outer + called in chosen.tensors:
                    renamed[name] = chosen.tensors[outer + called]
    return {name: _plain_numbers(value, name, path) for name, value in renamed.items()}


def _plain(name: str, wanted: Mapping[str, object]) -> str:
    if name in wanted:
        return name
    name = _CHUNK.sub(r"blocks.\1.", name)
    scaled = _SCALE.sub(r".ls\1.gamma", name)
    return scaled if scaled in wanted else name


def _plain_numbers(value: Tensor, name: str, path: Path) -> Tensor:
    """The values as they are, where they can stand for fp32: half precision and double can."""
    if value.is_quantized or value.layout != torch.strided or value.device.type == "meta":
        kind = "quantised" if value.is_quantized else str(value.layout).removeprefix("torch.")
        kind = "without values" if value.device.type == "meta" else kind
        raise WeightsError(f"{path}: {name} is {kind}: save plain dense tensors")
    if value.dtype not in _FLOATS:
        kind = str(value.dtype).removeprefix("torch.")
        raise WeightsError(
            f"{path}: {name} has numbers of type {kind}: weights are read as float16, bfloat16, "
            "float32 or float64; convert them where what they mean is known"
        )
    return value.detach()


def differences(
    state: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> tuple[list[str], str]:
    """The names that do not fit, and a sentence that names both sides; none and "" if all do."""
    shapes_in_file = {name: tuple(value.shape) for name, value in state.items()}
    lacking = sorted(wanted.keys() - shapes_in_file.keys())
    more = sorted(shapes_in_file.keys() - wanted.keys())
    other = sorted(
        name
        for name in wanted.keys() & shapes_in_file.keys()
        if wanted[name] != shapes_in_file[name]
    )
    clauses = []
    if other:
        shapes = [f"{name} {shapes_in_file[name]}, wanted {wanted[name]}" for name in other]
        clauses.append(f"of another shape: {_some(shapes, 3)}")
    if lacking:
        clauses.append(f"the file lacks {_some([f'{n} {wanted[n]}' for n in lacking], 3)}")
    if more:
        clauses.append(f"only the file has {_some([f'{n} {shapes_in_file[n]}' for n in more], 3)}")
    return [*other, *lacking, *more], "; ".join(clauses)


def _some(names: Sequence[str], most: int) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
