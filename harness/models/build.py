"""From a model config to a network with its weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save
from timm.layers.drop import DropPath
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from torch import Tensor

from harness.data.dataset import off_scale
from harness.errors import WeightsError
from harness.models.config import ModelConfig, Weights
from harness.models.families import family_of
from harness.models.files import read_content
from harness.models.mae import init_as_mae
from harness.models.vit import Normalisation, VisionTransformer
from harness.models.weights import differences, read_weights
from harness.paths import project_file

ARTIFACT = "model.safetensors"  # what a training run leaves for the runs that depend on it


def build_model(
    config: ModelConfig,
    *,
    classes: int,
    channels: int,
    input_norm: Normalisation,
    dependencies: Mapping[str, Path],
) -> VisionTransformer:
    """The network of `config` on the CPU, with its weights.

    `input_norm` is how the images it will get are normalised. Random weights come from torch's
    global generator: seed it first. Raises WeightsError when weights are missing, truncated or of
    another model.
    """
    config = replace(config, channels=config.channels or channels)
    model = VisionTransformer(_create(config, classes), config.shape)
    if config.init == "moco":
        set_positions(model)
    elif config.init == "mae":
        init_as_mae(model)
    elif config.init == "dino":
        torch.nn.init.trunc_normal_(model.vit.cls_token, std=0.02)
    weights, weights_norm = config.weights, input_norm
    source = f"the weights '{weights.hub}'"
    if weights.hub is not None and model.family.takes_spectrograms:
        require_finite(model, source)
    elif weights.hub is not None:
        pretrained = model.vit.pretrained_cfg
        weights_norm = Normalisation(mean=tuple(pretrained["mean"]), std=tuple(pretrained["std"]))
        if len(weights_norm.mean) != config.shape.channels:
            raise WeightsError(
                f"{source} want images of {len(weights_norm.mean)} channels, "
                f"here they have {config.shape.channels}: give weights trained on such images"
            )
        require_finite(model, source)
        if weights.head == "new":
            model.family.reset_head(model.vit, classes)
    elif not weights.random:
        path = _weights_file(weights, dependencies)
        source, weights_norm = str(path), _load(model, path, weights) or input_norm
        require_finite(model, source)
    if not weights.random:
        model.source = source
    wrong = off_scale(weights_norm.mean, weights_norm.std)
    if wrong and not off_scale(input_norm.mean, input_norm.std):  # spectrograms are off it too
        raise WeightsError(f"{source}: {wrong}")
    model.set_input_norm(weights_norm, input_norm)
    return model


def build_bare(
    config: ModelConfig, *, classes: int, device: str | torch.device
) -> VisionTransformer:
    """A network to be counted or timed: random weights, none at all on the device `meta`."""
    no_norm = Normalisation(mean=(0.0,), std=(1.0,))
    with torch.device(device):
        return build_model(
            config,
            classes=classes,
            channels=config.shape.channels,
            input_norm=no_norm,
            dependencies={},
        )


@torch.no_grad()
def set_positions(model: VisionTransformer) -> None:
    """Start position embeddings from sines and cosines of row and column, 0 for what comes before
    the patches (arXiv 2104.02057, as released; they are trained here).
    """
    embedding: Tensor = model.vit.pos_embed
    waves = build_sincos2d_pos_embed(
        list(model.grid), dim=embedding.shape[2], interleave_sin_cos=False
    )
    embedding.zero_()
    embedding[0, embedding.shape[1] - len(waves) :] = waves


def require_classifier(
    teacher: VisionTransformer, weights: Weights, classes: int, *, who: str = "teacher"
) -> None:
    """Raise WeightsError where the classifier of `classes` classes was drawn at random, because it
    is new or the hub's weights have none: a teacher, and whoever is judged as it is, must not say
    anything at random.
    """
    if weights.head == "new":
        raise WeightsError(f"the {who}'s weights have `head: new`, a classifier drawn at random")
    if weights.hub is None:
        return
    if teacher.family.labelling != "classes":
        raise WeightsError(
            f"the {who}'s weights '{weights.hub}' tell nothing of {teacher.family.labelling}: "
            "give `weights: {file: ...}` or `weights: {run: ...}`"
        )
    own_classes = teacher.vit.pretrained_cfg["num_classes"]
    if own_classes != classes:
        raise WeightsError(
            f"the {who}'s weights '{weights.hub}' "
            + (f"tell {own_classes} classes apart" if own_classes else "come without a classifier")
            + f", the data have {classes}: give weights fine-tuned on these data, "
            "`weights: {file: ...}` or `weights: {run: ...}`"
        )


def _create(config: ModelConfig, classes: int) -> Any:
    shape = config.shape
    hub = config.weights.hub
    options = family_of(shape).timm_options(shape)
    if config.init == "moco":
        options["weight_init"] = "moco"
    # timm's own checkpoints of these networks norm all tokens before one is pooled
    before = shape.pooling == "avg" and hub is not None and not {":", "/"}.intersection(hub)
    if before:
        options["global_pool"] = "token"
    uniform = config.drop_path_rule == "uniform"
    try:
        vit: Any = timm.create_model(
            hub or shape.timm,
            pretrained=hub is not None,
            num_classes=classes,
            drop_path_rate=0.0 if uniform else config.drop_path,
            **options,
        )
    except Exception as error:  # timm raises whatever the hub's client raises
        if hub is None:
            raise
        raise WeightsError(
            f"cannot get the weights '{hub}' from the model hub: {error}. "
            "Fetch them into the hub's cache with internet, or give `weights: {file: ...}`."
        ) from error
    if uniform:
        for block in vit.blocks:
            block.drop_path1, block.drop_path2 = (
                DropPath(config.drop_path),
                DropPath(config.drop_path),
            )
    if shape.mlp == "swiglu" and config.weights.random:
        reset_gates(vit, xavier=config.init == "moco")
    if before:
        if vit.pretrained_cfg["num_classes"]:
            raise WeightsError(
                f"the weights '{hub}' were trained to classify by the class token, and "
                f"'{config.arch}' pools its patches: give the `arch` that they are of"
            )
        pool_patches(vit)
    family_of(shape).complete(vit, shape, fetched=hub is not None)
    return vit


def reset_gates(vit: Any, *, xavier: bool) -> None:
    """Draw the gates and values of SwiGLU like every other layer, as DINOv2 does: timm starts half
    of them at a constant 1.
    """
    for block in vit.blocks:
        layer = block.mlp.fc1
        if xavier:
            torch.nn.init.xavier_uniform_(layer.weight)
        else:
            torch.nn.init.trunc_normal_(layer.weight, std=0.02)
        torch.nn.init.zeros_(layer.bias)


def pool_patches(vit: Any) -> None:
    """Classify timm's `vit` by the mean of its patches, with a new norm after it and none before.

    So MAE starts fine-tuning (arXiv 2111.06377, as released).
    """
    vit.fc_norm = type(vit.norm)(vit.embed_dim, eps=vit.norm.eps)
    vit.norm = torch.nn.Identity()
    vit.global_pool = "avg"


def _weights_file(weights: Weights, dependencies: Mapping[str, Path]) -> Path:
    if weights.run is not None:
        return dependencies[weights.run] / ARTIFACT
    assert weights.file is not None
    return project_file(weights.file)


def _load(model: VisionTransformer, path: Path, weights: Weights) -> Normalisation | None:
    """Read `path` into timm's model; every parameter must be there, with its shape.

    With a new head the classifier stays as it was built. Returns how the weights want their images
    scaled, if the file says so (see `save_model`).
    """
    sha256, content = weights.sha256, read_content(path)
    if sha256 is not None and (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise WeightsError(
            f"{path}: SHA-256 is {actual[:12]}..., the run was planned with {sha256[:12]}...; "
            "plan it again"
        )
    wanted = {key: tuple(value.shape) for key, value in model.vit.state_dict().items()}
    state, about = read_weights(path, content, wanted=wanted, key=weights.key)
    if weights.head == "new":
        state = model.family.carried_over(state, model.vit, model.shape)
    else:
        state = model.family.released(state)
    wrong, difference = differences(state, wanted)
    if wrong:
        raise WeightsError(
            f"{path}: weights of another model: {len(wrong)} of {len(wanted)} parameters differ: "
            f"{difference}{_advice(wrong, state, model, weights)}"
        )
    model.vit.load_state_dict(state)
    return _normalisation(about, path, model.vit.patch_embed.proj.in_channels)


def _advice(
    wrong: Sequence[str], state: Mapping[str, Tensor], model: VisionTransformer, weights: Weights
) -> str:
    if model.family.head_names(model.vit).issuperset(wrong):
        return (
            "; `head: new` leaves the classifier out, for a student or an evaluation; a teacher is "
            "fine-tuned on these data first (docs/models.md, A teacher for other classes)"
        )
    found, wanted = state.get("pos_embed"), getattr(model.vit, "pos_embed", None)
    if wrong != ["pos_embed"] or found is None or wanted is None or found.dim() != 3:
        return ""
    tokens, patches = found.shape[1], model.patches
    others = wanted.shape[1] - patches
    if others and (tokens == patches or (_square(tokens) and not _square(tokens - others))):
        return (
            f"; the file has positions for {tokens} patches and none for the class token: give an "
            "`arch` that has none either, as those of DeiT-III, `deit3_small_patch16_224`"
        )
    advice = (
        f"; the file has positions for {tokens} tokens, the network for {patches} patches and "
        f"{others} more: give the `arch` and `image_size` that the file is of"
    )
    if weights.head == "own":
        resized = model.family.carried_over(dict(state), model.vit, model.shape)["pos_embed"]
        if resized.shape == wanted.shape:
            advice += ", or `head: new`, which resizes them"
    return advice


def _square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count


def require_finite(model: VisionTransformer, source: str) -> None:
    """Raise WeightsError, which names the parameter, where a weight is not a finite number.

    One such number need not show in the logits: fused attention over few tokens swallows it. So do
    weights that are all 0, of which no network was ever trained.
    """
    every = chain(model.vit.named_parameters(), model.vit.named_buffers())
    named = [(name, value) for name, value in every if not value.is_meta]
    if not named:
        return  # a network without numbers, whose shapes alone are asked for
    for name, value in named:
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise WeightsError(
                f"{source}: {name} has {count} of {value.numel()} numbers that are not finite "
                "(NaN or infinite, or too large for float32): fetch or train it again"
            )
    new = model.family.head_names(model.vit)
    if not any(bool(value.any()) for name, value in named if name not in new):
        raise WeightsError(f"{source}: all weights are 0: no training leaves such a network")


def _normalisation(about: Mapping[str, str], path: Path, channels: int) -> Normalisation | None:
    if "mean" not in about and "std" not in about:
        return None
    try:
        mean, std = (
            tuple(float(part) for part in about[key].strip("()[] ").split(",") if part.strip())
            for key in ("mean", "std")
        )
        if len(mean) not in (1, channels) or len(std) not in (1, channels):
            raise ValueError(f"the network has {channels} channels")
        if not all(math.isfinite(part) for part in mean + std) or min(std) <= 0:
            raise ValueError("finite numbers, and std above 0")
    except (KeyError, ValueError) as error:
        raise WeightsError(
            f"{path}: its metadata should give both mean and std, as `0.48,0.46,0.41` ({error})"
        ) from error
    return Normalisation(mean=mean * (channels // len(mean)), std=std * (channels // len(std)))


def save_model(model: VisionTransformer, path: Path) -> None:
    """Write timm's parameters as safetensors, readable by anyone.

    The metadata `mean` and `std` say how the weights want their images scaled, per channel. Raises
    WeightsError where a weight is not finite: no other run may learn from such a network.
    """
    tensors = {
        key: value.detach().cpu().contiguous() for key, value in model.vit.state_dict().items()
    }
    require_finite(model, "the trained network")
    norm = model.weights_norm
    scaling = {} if norm is None else {"mean": norm.mean, "std": norm.std}
    about = {key: ",".join(map(repr, values)) for key, values in scaling.items()}
    # not `save_file`: it makes a file of its own beside `path`, and a full disk is no OSError there
    content = save(tensors, metadata={"format": "pt", **about})
    size = int.from_bytes(content[:8], "little")
    with path.open("wb") as file:
        file.write(content[:8])
        file.write(_in_order(content[8 : 8 + size]))
        file.write(memoryview(content)[8 + size :])


def _in_order(text: bytes) -> bytes:
    """A safetensors header with its metadata sorted, which come in another order every time: equal
    networks are equal files.
    """
    header = json.loads(text)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(ordered) <= len(text), "the same header in another order"
    return ordered.ljust(len(text))


def freeze_all_but_head(model: VisionTransformer) -> None:
    """A student whose linear classifier alone is trained."""
    heads = model.family.classifiers(model.vit)
    head = {id(parameter) for module in heads for parameter in module.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in head)


def freeze(model: VisionTransformer) -> VisionTransformer:
    """A teacher: eval mode, no gradients."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def freeze_watched(model: VisionTransformer) -> VisionTransformer:
    """A teacher that another network learns from: see `VisionTransformer.watch_nans`."""
    model.watch_nans()
    return freeze(model)
