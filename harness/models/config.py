"""Which network a run uses, and which weights it starts from."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

from harness.bounds import Bound, Positive, at_default, at_least, check_bounds
from harness.errors import FieldError
from harness.models.architectures import Architecture
from harness.models.families import ArchitectureName, family_of, known_architectures

MOST_PARAMETERS = 2e10  # ViT-22B; the papers' largest network, ViT-H, has 632 million
MOST_PATCHES = 65_536
_HUB_NAME = re.compile(r"[^:/@]+\.[^:/@]+|hf-hub:[^:/@]+/[^:/@]+(@[^:@]+)?")
_SIZES = (
    *("image_size", "image_width", "patch_size", "stride"),
    *("channels", "width", "depth", "heads"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Where weights come from; without any key they are random, drawn from the run's seed."""

    # a timm checkpoint, `deit_small_patch16_224.fb_in1k`, or another of the hub, `hf-hub:ORG/NAME`
    hub: str | None = None
    # a .safetensors file or a torch checkpoint (.pth, .pt), relative to the repository or absolute
    file: str | None = None
    # which network of that file, where it holds several: `model_ema`, `module.base_encoder`
    key: str | None = None
    # of that file; filled in when the spec is expanded, checked when it is read
    sha256: str | None = None
    # a row of a spec, `TABLE#ROW`, or `#ROW` of this one: it is trained first
    run: str | None = None
    # new: all but the classifier, for another task; position embeddings are resized to the grid
    head: Literal["own", "new"] = "own"

    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset({"file"})
    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"head", "key"})
    DISCRIMINATOR: ClassVar[frozenset[str]] = frozenset({"hub", "file", "run"})

    def __post_init__(self) -> None:
        sources = [key for key in ("hub", "file", "run") if getattr(self, key) is not None]
        if len(sources) > 1:
            raise FieldError(
                sources[1], f"give one of hub, file and run, not {' and '.join(sources)}"
            )
        if self.hub is not None and not _HUB_NAME.fullmatch(self.hub):
            raise FieldError(
                "hub",
                f"'{self.hub}' names no checkpoint of the model hub: give timm's NETWORK.TAG, as "
                "deit_small_patch16_224.fb_in1k, or hf-hub:ORG/NAME; weights that lie here are "
                "`weights: {file: ...}`",
            )
        if self.sha256 is not None and self.file is None:
            raise FieldError("sha256", "goes with `file`, the file it is the checksum of")
        if self.key is not None and self.file is None:
            raise FieldError("key", "goes with `file`, which holds several networks")
        if self.head == "new" and self.random:
            raise FieldError(
                "head", "`new` goes with `hub`, `file` or `run`, which hold an old one"
            )

    @property
    def random(self) -> bool:
        """Whether nothing is loaded."""
        return self.hub is None and self.file is None and self.run is None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """An architecture of the catalogue, with its dimensions changed where a field is given.

    `arch: vit` has no dimensions of its own: give all of them (small images).
    """

    arch: ArchitectureName  # the architecture's name: timm's, or `vit` with all dimensions given
    # pixels of a side; none here and below: the architecture's own
    image_size: Annotated[int, at_least(1, most=4096)] | None = None
    patch_size: Annotated[int, at_least(1, most=4096)] | None = None  # pixels of a side
    # of a spectrogram transformer, here and below: windows, where `image_size` is mel bins
    image_width: Annotated[int, at_least(1, most=65_536)] | None = None
    # pixels from one patch to the next; below `patch_size` they overlap
    stride: Annotated[int, at_least(1, most=4096)] | None = None
    # of the images; none: the data's
    channels: Annotated[int, at_least(1, most=1024)] | None = None
    width: Annotated[int, at_least(1, most=16_384)] | None = None  # of a token
    depth: Annotated[int, at_least(1, most=512)] | None = None  # number of blocks
    # attention heads of a block; must divide the width
    heads: Annotated[int, at_least(1, most=1024)] | None = None
    # stochastic depth: the probability that the last block is left out, linear from 0
    drop_path: Annotated[float, Bound(least=0, below=1)] = 0.0
    # uniform: the same probability in every block, in place of linear from 0 (arXiv 2304.07193)
    drop_path_rule: Literal["linear", "uniform"] = "linear"
    # of a plain ViT, here and below: learned tokens beside the class token, without positions
    registers: Annotated[int, at_least(0, most=1024)] = 0
    # what each residual branch is multiplied by at first, trained; none: the architecture's own
    layer_scale: Positive | None = None
    # of a block; swiglu: a gated MLP with two thirds of the units, which costs as much
    mlp: Literal["gelu", "swiglu"] = "gelu"
    weights: Weights = Weights()  # what it starts from; none: random
    trained: Literal["all", "head"] = "all"  # of a student; head: its linear classifier alone
    # of a YOLOS: learned tokens, each of which may find one object; none: 100
    detection_tokens: Annotated[int, at_least(1, most=1000)] | None = None
    # how random weights of a plain ViT are drawn. timm: normal 0.02 at every width, which is made
    # for wide networks; moco: Xavier, in proportion to the width, and sines and cosines for the
    # positions (arXiv 2104.02057, as released, where those are not trained); dino: timm's, with the
    # class token from the same normal 0.02, where timm has 1e-6 (arXiv 2104.14294, as released);
    # mae: Xavier, the class token normal 0.02, sines and cosines, a classifier of almost 0 (arXiv
    # 2111.06377, as released)
    init: Literal["timm", "moco", "dino", "mae"] = "timm"

    DISCRIMINATOR: ClassVar[frozenset[str]] = frozenset({"arch"})
    ADDED_LATER: ClassVar[frozenset[str]] = frozenset(
        {"trained", "init", "drop_path_rule", "registers", "layer_scale", "mlp"}
        | {"detection_tokens", "image_width", "stride"}
    )

    def __post_init__(self) -> None:
        check_bounds(self)
        self._check_additions()
        self._check_shape()
        if self.init != "timm" and not family_of(self.shape).chooses_init:
            raise FieldError(
                "init", f"must be timm: '{self.arch}' is no plain ViT; got {self.init}"
            )
        if self.init in ("moco", "mae") and self.shape.width % 4:
            raise FieldError(
                "init",
                f"{self.init} needs a width that 4 divides, for sines and cosines of rows and "
                f"columns; got {self.shape.width}",
            )

    def _check_additions(self) -> None:
        if self.drop_path_rule == "uniform" and self.drop_path == 0:
            raise FieldError("drop_path_rule", "has no effect without drop_path: leave it out")
        catalogue = known_architectures()[self.arch]
        for key in ("registers", "layer_scale", "mlp", "drop_path_rule"):
            if not at_default(self, key) and not family_of(catalogue).plain:
                what = f"is an option of plain ViTs, and '{self.arch}' is none: leave it out"
                raise FieldError(key, what)
        if self.detection_tokens is not None and not catalogue.detection_tokens:
            what = f"is an option of YOLOS, and '{self.arch}' is none: leave it out"
            raise FieldError("detection_tokens", what)
        for key in ("image_width", "stride") if not family_of(catalogue).takes_spectrograms else ():
            if getattr(self, key) is not None:
                what = f"is an option of spectrogram transformers, and '{self.arch}' is none"
                raise FieldError(key, f"{what}: leave it out")
        if self.registers and catalogue.distilled:
            raise FieldError("registers", "do not go with a distillation token: leave them out")

    def _check_shape(self) -> None:
        shape = self.shape
        missing = [
            key
            for key in ("image_size", "patch_size", "width", "depth", "heads")
            if not getattr(shape, key)
        ]
        if missing:
            raise FieldError(
                "arch", f"'{self.arch}' has no dimensions of its own: give {', '.join(missing)}"
            )
        if family_of(shape).takes_spectrograms:
            self._check_overlap()
        elif shape.image_size % shape.patch_size:
            raise FieldError(
                "patch_size",
                f"must divide the image size {shape.image_size}, got {shape.patch_size}",
            )
        if 12 * shape.width**2 * shape.depth > MOST_PARAMETERS:
            raise FieldError(
                "width",
                f"{shape.width} and {shape.depth} blocks make more than "
                f"{MOST_PARAMETERS / 1e9:g} billion parameters",
            )
        if shape.patches > MOST_PATCHES:
            raise FieldError(
                "patch_size", f"makes {shape.patches:,} patches, {MOST_PATCHES:,} at most"
            )
        if shape.width % shape.heads:
            raise FieldError("heads", f"must divide the width {shape.width}, got {shape.heads}")
        if self.weights.hub is not None:
            self._check_hub(self.weights.hub)
        if not family_of(shape).resizable and self._changed_shape():
            raise FieldError("arch", f"the dimensions of '{self.arch}' cannot be changed")

    def _check_overlap(self) -> None:
        shape = self.shape
        if shape.patch_size > min(shape.image_shape):
            raise FieldError(
                "patch_size",
                f"must be at most the smaller side of {' x '.join(map(str, shape.image_shape))}, "
                f"got {shape.patch_size}",
            )
        if shape.stride > shape.patch_size:
            raise FieldError(
                "stride",
                f"must be at most the patch size {shape.patch_size}, or something between patches "
                f"is not seen; got {shape.stride}",
            )

    def _check_hub(self, hub: str) -> None:
        """timm's names start with the network's; of another hub's names nothing is known here."""
        catalogue = known_architectures()[self.arch]
        if family_of(catalogue).takes_spectrograms and self.weights.head != "new":
            raise FieldError(
                "weights",
                f"'{hub}' are of photographs, whose classifier tells nothing of sounds: add "
                "`head: new`",
            )
        other = not {":", "/"}.intersection(hub) and hub.partition(".")[0] != catalogue.timm
        if other or not catalogue.width:
            fitting = f"`{catalogue.timm}.TAG`, or " if catalogue.width else ""
            raise FieldError(
                "weights",
                f"'{hub}' are of another network than '{self.arch}': "
                f"give {fitting}the `arch` that they are of",
            )
        patch = ("patch_size",) if family_of(catalogue).takes_spectrograms else ()
        for key in ("width", "depth", "heads", *patch, "registers", "mlp", "layer_scale"):
            if getattr(self.shape, key) != getattr(catalogue, key):
                raise FieldError(
                    key,
                    f"the weights '{hub}' have {getattr(catalogue, key)}, "
                    f"got {getattr(self, key)}; leave it out, or give other weights",
                )

    def _changed_shape(self) -> bool:
        catalogue = known_architectures()[self.arch]
        return self.shape != replace(catalogue, channels=self.shape.channels)

    def for_evaluation(self) -> ModelConfig:
        """The same after training: how it was trained makes no difference to an evaluation."""
        return replace(self, drop_path=0.0, drop_path_rule="linear", trained="all")

    def cost_config(self, channels: int) -> ModelConfig:
        """What decides the cost of a forward pass: rows that share it share their cost runs.

        `channels` are the data's, used where the config gives none.
        """
        channels = self.channels or channels
        bare = replace(self.for_evaluation(), weights=Weights(), init="timm", layer_scale=None)
        return replace(bare, channels=channels)

    def identity_more(self) -> dict[str, int]:
        """The version of the family's code, which no key of a spec names."""
        version = family_of(self.shape).version
        return {} if version == 1 else {"family_version": version}

    def components(self) -> tuple[type, ...]:
        """The code behind the name of the architecture; see `harness.code`."""
        return (type(family_of(self.shape)),)

    @property
    def shape(self) -> Architecture:
        """The architecture with this config's dimensions."""
        changes = {key: value for key in _SIZES if (value := getattr(self, key)) is not None}
        catalogue = known_architectures()[self.arch]
        if self.registers:
            changes["registers"] = self.registers
            changes["prefix_tokens"] = catalogue.prefix_tokens + self.registers
            changes["positioned_prefix"] = False
        if self.detection_tokens is not None:
            changes["detection_tokens"] = self.detection_tokens
            changes["prefix_tokens"] = 1 + self.detection_tokens
        if self.layer_scale is not None:
            changes["layer_scale"] = self.layer_scale
        if self.mlp != "gelu":
            changes["mlp"] = self.mlp
        return _with_dimensions(catalogue, tuple(changes.items()))


@lru_cache(maxsize=1024)
def _with_dimensions(catalogue: Architecture, changes: tuple[tuple[str, Any], ...]) -> Architecture:
    return replace(catalogue, **dict(changes))
