"""MaskedKD as one would write it with timm and PyTorch alone (arXiv 2302.10494, algorithm 1): what
`masked_step.py` holds this package against.

Both networks embed every patch and run whole last blocks; the class token's attention is taken from
a full map. `fused` keeps PyTorch's fused attention wherever no map is needed; `bf16`: autocast.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainMaskedKD:
    """A student that learns from a teacher who sees the `keep` patches it attends to most."""

    def __init__(
        self,
        student: Any,
        teacher: Any,
        keep: int,
        *,
        fused: bool = False,
        bf16: bool = False,
        lr: float = 1e-4,
        weight_decay: float = 0.05,
    ) -> None:
        self.student, self.teacher, self.keep = student.train(), teacher.eval(), keep
        self.bf16 = bf16
        for block in (*student.blocks, *teacher.blocks):
            block.attn.fused_attn = fused
        last = student.blocks[-1].attn
        last.fused_attn = False
        self.attention: Tensor | None = None  # (B, heads, 1 + N, 1 + N)
        last.attn_drop.register_forward_hook(self._keep_attention)
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for name, parameter in student.named_parameters():  # DeiT's rule
            free = parameter.ndim == 1 or name in student.no_weight_decay()
            (others if free else decayed).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decayed},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay)

    def _keep_attention(self, module: nn.Module, inputs: Any, attention: Tensor) -> None:
        self.attention = attention.detach()

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy with soft labels (B, classes), plus KL(teacher || student)."""
        logits = self.student(images)
        assert self.attention is not None
        kept = self.attention[:, :, 0, 1:].mean(dim=1).topk(self.keep).indices
        with torch.no_grad():
            taught = self.taught(images, kept)
        kl = functional.kl_div(
            functional.log_softmax(logits, dim=1),
            functional.log_softmax(taught, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return functional.cross_entropy(logits, targets) + kl

    def taught(self, images: Tensor, kept: Tensor) -> Tensor:
        """The teacher's logits of the patches `kept` (B, K)."""
        tokens = self.teacher._pos_embed(self.teacher.patch_embed(images))
        places = (kept + 1).unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        tokens = torch.cat([tokens[:, :1], tokens.gather(1, places)], dim=1)
        tokens = self.teacher.blocks(self.teacher.norm_pre(tokens))
        logits: Tensor = self.teacher.forward_head(self.teacher.norm(tokens))
        return logits

    def step(self, images: Tensor, targets: Tensor) -> Tensor:
        """One update; the loss before it."""
        self.optimizer.zero_grad()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.loss(images, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()
