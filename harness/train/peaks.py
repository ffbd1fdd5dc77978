"""What cards can do at most, to say how much of it a training uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Peak:
    """Dense matrix products, TFLOP/s, as the vendor's data sheet of the card gives them (figures
    with sparsity halved); half: bf16 and fp16 with sums in fp32.
    """

    half: float
    tf32: float
    fp32: float


CARDS: Final[tuple[tuple[str, Peak], ...]] = (
    # NVIDIA's data sheets: Blackwell HGX, H200, H100, A100, L40S, L4, A10, A40 and RTX A6000; the
    # Ada and Ampere GA102 architecture white papers for GeForce cards
    ("B200", Peak(2250, 1125, 75)),
    ("GH200", Peak(989.4, 494.7, 66.9)),
    ("H200 NVL", Peak(835.5, 417.5, 60)),
    ("H200", Peak(989.4, 494.7, 66.9)),
    ("H100 PCIe", Peak(756.4, 378.2, 51.2)),
    ("H100 NVL", Peak(835.5, 417.5, 60)),
    ("H100", Peak(989.4, 494.7, 66.9)),
    ("A100", Peak(312, 156, 19.5)),
    ("L40S", Peak(362.1, 183.2, 91.6)),
    ("L4", Peak(121, 60, 30.3)),
    ("A10", Peak(125, 62.5, 31.2)),
    ("A40", Peak(149.7, 74.8, 37.4)),
    ("RTX A6000", Peak(154.8, 77.4, 38.7)),
    ("RTX 4090", Peak(165.2, 82.6, 82.6)),
    ("RTX 3090", Peak(71, 35.6, 35.6)),
)
"""By words of the name that the driver gives; the first that fits counts."""


def peak_flops(card: str, precision: str) -> float | None:
    """FLOP/s at most of a card in a recipe's precision; None where it is not known.

    A part of a card (MIG) is another card.
    """
    words = card.replace("-", " ").split()
    if "MIG" in words:
        return None
    for name, peak in CARDS:
        wanted = name.split()
        if all(word in words for word in wanted):
            rates = {"fp32": peak.fp32, "tf32": peak.tf32, "bf16": peak.half, "fp16": peak.half}
            return rates[precision] * 1e12
    return None
