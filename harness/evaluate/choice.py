"""Whose attention chooses the patches that a network does not see, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

from harness.masking import AttentionSource
from harness.methods import Method
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.distillation import Distillation
from harness.methods.ibot import Ibot
from harness.methods.masked_dino import MaskedDino
from harness.methods.masked_student import MaskedStudent
from harness.models.architectures import Architecture
from harness.models.families import family_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The attention that is read, and whether a pass is run for that alone; without one it is a
    by-product of a pass that training makes anyway.
    """

    source: AttentionSource
    own_pass: bool


def choice_of(method: Method) -> Choice | None:
    """None: the method hides nothing, or looks at no attention to choose it."""
    if isinstance(method, Distillation) and method.mask is not None:
        source = method.mask.criterion.attention_source()
        return (
            None if source is None else Choice(source=source, own_pass=source.network != "student")
        )
    if isinstance(method, DinoMaskedTeacher):
        source = method.criterion.attention_source()
        return None if source is None else Choice(source=source, own_pass=False)
    if isinstance(method, Ibot | MaskedDino) and method.mask.needs_attention:
        return Choice(source=AttentionSource(network="teacher"), own_pass=False)
    if isinstance(method, MaskedStudent):  # it looks at the whole image before it trains on a part
        return Choice(source=AttentionSource(network="student"), own_pass=True)
    return None


def mean_over_heads(shape: Architecture) -> int:
    """Additions that make one score a patch of the class token's attention in H heads, N H
    (arXiv 2302.10494, section 3.2).
    """
    rows, columns = family_of(shape).grid(shape)
    return rows * columns * shape.heads
