"""DINO whose student does not see all of its views: asymmetric masking (arXiv 2506.10582), and
AttMask without a patch loss (arXiv 2203.12719, Table 3).
"""

from harness.methods.masked_dino.config import MaskedDino

__all__ = ["MaskedDino"]
