"""MAE: a masked autoencoder (arXiv 2111.06377).

The encoder sees a quarter of the patches and no mask tokens; a light decoder guesses the pixels of
the others. So a step costs a fraction of one that runs the encoder on everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from harness.batch_slice import BatchSlice
from harness.bounds import Bound, at_least, check_bounds
from harness.errors import FieldError
from harness.lazy import torch
from harness.methods import METHODS, Batch, Method, Networks, Objective, Step
from harness.models.architectures import Architecture
from harness.models.cost import published_macs
from harness.models.interface import ForwardRequest
from harness.transfer import to_device

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from harness.train.config import Recipe

DECODER_FILE = "decoder.safetensors"
"""What a training leaves beside its encoder, for pictures of what it guesses."""
VARIANCE = 1e-6  # added to that of a patch's pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoder:
    """The light network that guesses pixels."""

    width: Annotated[int, at_least(4, most=16_384)] = 512  # of a token; 4 must divide it
    depth: Annotated[int, at_least(1, most=512)] = 8  # number of blocks
    heads: Annotated[int, at_least(1, most=1024)] = 16  # attention heads; must divide the width

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.width % 4:
            what = "must be a multiple of 4, for sines and cosines of rows and columns"
            raise FieldError("width", f"{what}; got {self.width}")
        if self.width % self.heads:
            raise FieldError("heads", f"must divide the width {self.width}, got {self.heads}")

    def macs(self, student: Architecture, seen: int) -> float:
        """Multiply-adds for an image of which the encoder saw so many patches."""
        n, d, hidden = student.patches + 1, self.width, student.patches - seen
        blocks = self.depth * (12 * n * d * d + 2 * n * n * d)
        pixels = student.channels * student.patch_size**2
        return (seen + 1) * student.width * d + blocks + hidden * d * pixels


@METHODS.register("mae")
@dataclass(frozen=True, kw_only=True, slots=True)
class Mae(Method):
    """Mean squared error of the guessed pixels of hidden patches.

    Positions are sines and cosines and are not trained. The class token goes through encoder and
    decoder and has no loss. The recipe's `augment` says what happens to images; labels are not
    looked at.
    """

    version: ClassVar[int] = 2  # from 2 on the classifier of `init: mae` is drawn too

    # share of the patches that is hidden, at random in every image
    mask_ratio: Annotated[float, Bound(above=0, below=1)] = 0.75
    decoder: Decoder = Decoder()  # the network that guesses
    # compare with pixels less the mean of their patch, over its standard deviation
    normalise_targets: bool = True

    def __post_init__(self) -> None:
        check_bounds(self)

    @property
    def uses_labels(self) -> bool:
        """None."""
        return False

    def seen(self, patches: int) -> int:
        """How many of so many patches the encoder sees: rounded down, as released."""
        return int(patches * (1 - self.mask_ratio) + 1e-9)

    def image_macs(self, student: Architecture) -> float:
        """Multiply-adds of one training image: encoder and decoder, forward and backward."""
        seen = self.seen(student.patches)
        return 3 * (encoder_macs(student, seen) + self.decoder.macs(student, seen))

    def student_keep(self, patches: int) -> int | None:
        """What the encoder sees."""
        return self.seen(patches)

    def check(self, networks: Mapping[str, Architecture], recipe: Recipe) -> None:
        """A plain ViT with a class token, some of whose patches are seen, and images unmixed."""
        student, augment = networks["student"], recipe.augment
        if augment.mixup or augment.cutmix or augment.label_smoothing:
            what = "learns without labels: mixup, cutmix and label_smoothing of `recipe.augment`"
            raise FieldError("method", f"{what} must be 0")
        if recipe.layer_decay != 1:
            what = "trains a decoder, whose blocks have no depth in the network"
            raise FieldError("method", f"{what}: `layer_decay` of `recipe` must be 1")
        if student.prefix_tokens != 1 or not student.positioned_prefix or student.family != "vit":
            raise FieldError("name", "needs a plain ViT: one CLS token, with a position")
        if student.pooling != "token":
            what = "needs a norm after the last block: vit_base_patch16_224 as `arch`; one that "
            raise FieldError("name", f"{what}pools its patches is for fine-tuning")
        if student.width % 4:
            what = "needs a width that 4 divides, for sines and cosines of rows and columns"
            raise FieldError("name", f"{what}; the student's is {student.width}")
        if self.normalise_targets and student.patch_size == 1:
            what = "needs patches of more than one pixel, which has no spread: give false"
            raise FieldError("normalise_targets", what)
        patches, seen = student.patches, self.seen(student.patches)
        if not 0 < seen < patches:
            does = "leaves none" if seen == 0 else "hides none"
            what = f"{self.mask_ratio:g} {does} of the student's {patches} patches"
            raise FieldError("mask_ratio", what)

    def build(self, networks: Networks) -> Objective:
        """The objective over the encoder, which is the student, and a new decoder."""
        return MaeObjective(self, networks)


class MaeObjective(Objective):
    """Encoder on what is seen, decoder on everything, loss on what is hidden."""

    decays_tokens = True  # as released: all but what has one axis

    def __init__(self, method: Mae, networks: Networks) -> None:
        from harness.models.mae import PixelDecoder, set_fixed_positions  # it imports torch

        self.method, self.student = method, networks.student
        vit: Any = self.student.vit
        self.patch_size: tuple[int, int] = vit.patch_embed.patch_size
        set_fixed_positions(self.student)
        vit.pos_embed.requires_grad_(False)
        vit.head.requires_grad_(False)  # the classifier has no part in this
        self.decoder = PixelDecoder(
            vit.embed_dim,
            width=method.decoder.width,
            depth=method.decoder.depth,
            heads=method.decoder.heads,
            grid=self.student.grid,
            outputs=vit.patch_embed.proj.in_channels * self.patch_size[0] * self.patch_size[1],
        ).to(vit.cls_token.device)
        self.modules = {"student": self.student, "decoder": self.decoder}

    def losses(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """`total`."""
        order = to_device(self.draw_order(step, len(batch.images)), batch.images.device)
        seen = self.method.seen(self.student.patches)
        tokens = self.encoded(batch.images, order[:, :seen])
        return {"total": self.pixel_loss(batch.images, tokens, order[:, :seen], order[:, seen:])}

    def draw_order(self, step: Step, images: int) -> Tensor:
        """A random order of the patches (B, N) of every image, on the CPU."""
        return random_order(images, self.student.patches, step.generator, step.batch_slice)

    def encoded(self, images: Tensor, keep: Tensor) -> Tensor:
        """Class token and tokens of the patches `keep` (B, K), normed: (B, 1 + K, D)."""
        outputs = ForwardRequest(patches=True)
        features = self.student.forward_features(
            images, keep=keep, outputs=outputs, embed_all=False
        )
        return features.normed

    def pixel_loss(self, images: Tensor, tokens: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        """Mean over the hidden patches' pixels; as many are hidden in every image."""
        from harness.models.families.vit import gather_patches

        guesses: Tensor = self.decoder(tokens, keep, hidden)
        pixels = gather_patches(self.student.renormalise(images), hidden, self.patch_size).float()
        if self.method.normalise_targets:
            pixels = normalised(pixels)
        return (guesses.float() - pixels).square().mean()

    def artifacts(self) -> Mapping[str, Callable[[Path], None]]:
        """The decoder."""
        from safetensors.torch import save

        state = {name: value.cpu() for name, value in self.decoder.state_dict().items()}
        return {DECODER_FILE: lambda path: _write(path, save(state))}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def random_order(
    images: int, patches: int, generator: torch.Generator, batch_slice: BatchSlice
) -> Tensor:
    """A random order of the patches (B, N) of each image: those of equal noise, sorted.

    It depends on the image's place in the whole batch, not on who computes it.
    """
    noise = batch_slice.draw_for_slice(
        images, lambda rows: torch.rand(rows, patches, generator=generator)
    )
    return noise.argsort(dim=1)


def encoder_macs(student: Architecture, seen: int) -> float:
    """Multiply-adds of an encoder that embeds and sees so many patches, all of which leave it."""
    macs = published_macs(student, keep=seen, classes=0)
    return macs.total - macs.embedding * (1 - seen / student.patches)


def patch_statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (unbiased, as released) standard deviation of patches (..., P): (..., 1) each."""
    variance = pixels.var(dim=-1, keepdim=True)
    return pixels.mean(dim=-1, keepdim=True), (variance + VARIANCE).sqrt()


def normalised(pixels: Tensor) -> Tensor:
    """Pixels of patches (..., P) less their patch's mean, over its standard deviation."""
    mean, deviation = patch_statistics(pixels)
    return (pixels - mean) / deviation
