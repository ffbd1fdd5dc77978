"""Criteria that follow some network's attention: MaskedKD's own, and its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.lazy import torch
from harness.masking import CRITERIA, AttentionSource, Criterion, CriterionInput
from harness.models.interface import Queries, Saliency


class AttentionCriterion(Criterion):
    """Keeps what some attention is highest on: of which network, and of whose queries."""

    network: ClassVar[Literal["student", "teacher", "saliency_model"]] = "student"
    queries: ClassVar[Queries] = "cls"
    layer: str = "last"

    def attention_source(self) -> AttentionSource:
        """The attention in the criterion's layer."""
        saliency = Saliency(layer=self.layer, queries=self.queries)
        return AttentionSource(network=self.network, saliency=saliency)

    def scores(self, inputs: CriterionInput) -> torch.Tensor:
        """(B, N): the attention itself."""
        assert inputs.attention is not None
        return inputs.attention


@CRITERIA.register("student-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class StudentAttention(AttentionCriterion):
    """Softmaxed attention of the CLS query to the patches in the student's last block, mean over
    heads.

    It comes from the student's own training forward (mixed images, drop path on), so it costs
    nothing extra. Source: arXiv 2302.10494, section 3.2; "CLS-patch attention, last layer" of Table
    6.
    """


@CRITERIA.register("student-attention-lowest")
@dataclass(frozen=True, kw_only=True, slots=True)
class StudentAttentionLowest(AttentionCriterion):
    """Keeps what the student attends to least (arXiv 2302.10494, Table 6, part c, "bottom-k")."""

    def scores(self, inputs: CriterionInput) -> torch.Tensor:
        """(B, N) negated saliency."""
        return -AttentionCriterion.scores(self, inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCriterion(AttentionCriterion):
    """The same in a layer that is chosen."""

    layer: str = "last"  # first, middle, last, or the block's number, from 1

    def __post_init__(self) -> None:
        self.attention_source()  # FieldError where `layer` is none


@CRITERIA.register("layer-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerAttention(LayerCriterion):
    """As `student-attention`, from any block: first, middle, last, or its number from 1.

    Of 12 blocks the middle one is the sixth, as in the paper (arXiv 2302.10494, Table 6, part b).
    """

    layer: str = "middle"  # first, middle, last, or the block's number, from 1


@CRITERIA.register("patch-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class PatchAttention(LayerCriterion):
    """Attention that a patch gets from the patch queries of one block, mean over queries and heads.

    It needs that block's whole map. The only criterion for students without a class token (Swin).
    Source: arXiv 2302.10494, Table 6, "patch-patch attention"; the released code has no such part,
    so the mean is our reading of it.
    """

    queries: ClassVar[Queries] = "patches"


@CRITERIA.register("detection-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class DetectionAttention(LayerCriterion):
    """Attention that a patch gets from the student's detection tokens, mean over tokens and heads.

    For a YOLOS. Our reading of arXiv 2302.10494, Table 12, which does not say whose attention it
    takes; `student-attention`, the class token's, is the alternative.
    """

    queries: ClassVar[Queries] = "detections"


@CRITERIA.register("special-tokens-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialTokensAttention(AttentionCriterion):
    """As `student-attention`, with the mean over the queries of all tokens that are no patches.

    Of a student with a distillation token, both count (AST, arXiv 2104.01778, classifies by their
    mean). MaskedKD (arXiv 2302.10494) does not say which: this is the alternative.
    """

    queries: ClassVar[Queries] = "special"


@CRITERIA.register("teacher-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherAttention(LayerCriterion):
    """CLS row of the teacher on all patches, mean over heads (arXiv 2302.10494, Figure 3).

    A control, not a saving: the teacher first runs on the whole image to find what to keep. The
    published costs of masked teachers leave that out, and so do the cost columns here.
    """

    network: ClassVar[Literal["student", "teacher", "saliency_model"]] = "teacher"


@CRITERIA.register("saliency-model-attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyModelAttention(LayerCriterion):
    """CLS row of the third network, `saliency_model`, mean over heads, on the student's image.

    With DINO weights it is the paper's "DINO attention" (arXiv 2302.10494, Figure 3 and Table 5).
    The saliency model's forward pass is extra; no cost column counts it.
    """

    network: ClassVar[Literal["student", "teacher", "saliency_model"]] = "saliency_model"
