"""iBOT: DINO with a loss over masked patches (arXiv 2111.07832); with AttMask's masks, AttMask
(arXiv 2203.12719).
"""

from harness.methods.ibot.config import Ibot

__all__ = ["Ibot"]
