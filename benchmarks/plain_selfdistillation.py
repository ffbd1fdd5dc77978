"""DINO, iBOT and AttMask as one would write them with timm and PyTorch alone, and as their released
codes compute: what `selfdistillation_step.py` holds this package against.

Attention maps in full, whole last blocks; in iBOT every token of every view meets all prototypes; a
log-softmax and a product for every pair of views; updates parameter by parameter. `fused` keeps
PyTorch's fused attention wherever no map is needed; `bf16`: autocast. Schedules and masks are this
package's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from harness.masking.views import MaskSampler
from harness.methods import Step
from harness.methods.ibot import Ibot, IbotObjective
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.parts import cosine, warmed_up
from harness.methods.selfdistillation.patch_masking import PatchMasking
from harness.models.families.vit import resize_positions
from harness.models.layers import ProjectionHead
from harness.train.config import Recipe


class PlainHead(nn.Module):
    """MLP, unit vectors, prototypes with weight norm; with the weights of `ours`."""

    def __init__(self, ours: ProjectionHead) -> None:
        super().__init__()
        self.mlp = copy.deepcopy(ours.mlp)
        out_dim, bottleneck = ours.direction.shape
        self.last = weight_norm(nn.Linear(bottleneck, out_dim, bias=False))
        lengths = self.last.parametrizations.weight
        with torch.no_grad():
            lengths.original0.copy_(ours.gain)
            lengths.original1.copy_(ours.direction)
        lengths.original0.requires_grad_(ours.gain.requires_grad)
        self.to(ours.direction.device)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (..., out_dim)."""
        logits: Tensor = self.last(functional.normalize(self.mlp(tokens), dim=-1))
        return logits


class PlainNetwork(nn.Module):
    """A timm ViT, its head and its mask token."""

    def __init__(self, vit: Any, head: ProjectionHead, *, fused: bool) -> None:
        super().__init__()
        self.vit, self.head = copy.deepcopy(vit), PlainHead(head)
        self.mask_token = nn.Parameter(torch.zeros(1, vit.embed_dim, device=vit.cls_token.device))
        for block in self.vit.blocks:
            block.attn.fused_attn = fused

    def tokens(self, images: Tensor, hidden: Tensor | None = None) -> Tensor:
        """(B, 1 + N, D) after the last norm; `hidden` (B, N) patches are the mask token."""
        patches = self.vit.patch_embed.proj(images)
        positions = resize_positions(self.vit.pos_embed[:, 1:], *patches.shape[2:])
        patches = patches.flatten(2).transpose(1, 2)
        if hidden is not None:
            patches = torch.where(hidden.unsqueeze(2), self.mask_token, patches)
        cls = (self.vit.cls_token + self.vit.pos_embed[:, :1]).expand(len(images), -1, -1)
        tokens: Tensor = self.vit.norm(
            self.vit.blocks(torch.cat([cls, patches + positions], dim=1))
        )
        return tokens


class PlainDino:
    """DINO, with the weights and centres of `ours`."""

    def __init__(
        self,
        ours: SelfDistillationObjective,
        recipe: Recipe,
        *,
        fused: bool = False,
        bf16: bool = False,
    ) -> None:
        self.method, self.bf16 = ours.method, bf16
        self.student = PlainNetwork(ours.student.vit, ours.head, fused=fused)
        self.teacher = PlainNetwork(ours.teacher.vit, ours.teacher_head, fused=fused)
        self.teacher.requires_grad_(False)
        self.center = ours.center.value.clone()
        trained = [p for p in self.student.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.weight_decay = recipe.weight_decay
        self.optimizer = torch.optim.AdamW(
            groups, lr=recipe.peak_lr, betas=recipe.betas, eps=recipe.eps
        )

    def loss(self, views: Sequence[Tensor], step: Step) -> Tensor:
        """Of all pairs of a teacher's view and another one of the student."""
        student = [self.student.tokens(torch.cat(list(views[:2])))[:, 0]]
        if len(views) > 2:
            student.append(self.student.tokens(torch.cat(list(views[2:])))[:, 0])
        logits = self.student.head(torch.cat(student)).chunk(len(views))
        with torch.no_grad():
            taught = self.teacher.head(self.teacher.tokens(torch.cat(list(views[:2])))[:, 0])
        return self.loss_of_pairs(logits, taught, step)

    def loss_of_pairs(self, student: Sequence[Tensor], taught: Tensor, step: Step) -> Tensor:
        """DINO's loss: logits (B, K) of the student for each view, (2B, K) of the teacher."""
        of = self.method.temperatures
        temperature = warmed_up(of.teacher_start, of.teacher, step.epoch, of.warmup_epochs)
        targets = ((taught - self.center) / temperature).softmax(dim=-1).chunk(2)
        terms = []
        for first, target in enumerate(targets):
            for second, logits in enumerate(student):
                if first != second:
                    guess = functional.log_softmax(logits / of.student, dim=-1)
                    terms.append(-(target * guess).sum(dim=-1).mean())
        self.center = moved(self.center, taught, self.method.center_momentum)
        return torch.stack(terms).mean()

    def step(self, views: Sequence[Tensor], step: Step) -> Tensor:
        """One update; the loss before it."""
        self.optimizer.zero_grad()
        with torch.autocast(views[0].device.type, torch.bfloat16, enabled=self.bf16):
            loss = self.loss(views, step)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.param_groups[0]["weight_decay"] = cosine(
            self.weight_decay, self.method.weight_decay_end, step.index, step.total
        )
        for gradient in [p.grad for p in self.student.parameters() if p.grad is not None]:
            shrink = (self.method.clip or torch.inf) / (gradient.norm() + 1e-6)
            if shrink < 1:
                gradient.mul_(shrink)
        if step.index < self.method.head.freeze_last_layer_epochs * step.per_epoch:
            for parameter in self.student.head.last.parameters():
                parameter.grad = None
        self.optimizer.step()
        momentum = cosine(self.method.momentum, 1.0, step.index, step.total)
        with torch.no_grad():
            for slow, fast in zip(
                self.teacher.parameters(), self.student.parameters(), strict=True
            ):
                slow.mul_(momentum).add_((1 - momentum) * fast)
        return loss.detach()


class PlainIbot(PlainDino):
    """iBOT; AttMask where the masks follow the teacher's attention."""

    def __init__(
        self, ours: IbotObjective, recipe: Recipe, *, fused: bool = False, bf16: bool = False
    ) -> None:
        super().__init__(ours, recipe, fused=fused, bf16=bf16)
        self.ibot: Ibot = ours.method
        with torch.no_grad():
            self.student.mask_token.copy_(ours.token.mask_token)
        self.patch_center = ours.patch_center.value.clone()
        self.attention: Tensor | None = None  # (2B, heads, 1 + N, 1 + N)
        mask: MaskSampler = self.ibot.mask
        self.masking = PatchMasking(mask, ours.device)
        if mask.needs_attention:
            last = self.teacher.vit.blocks[-1].attn
            last.fused_attn = False
            last.attn_drop.register_forward_hook(self._keep_attention)

    def _keep_attention(self, module: nn.Module, inputs: Any, attention: Tensor) -> None:
        self.attention = attention

    def loss(self, views: Sequence[Tensor], step: Step) -> Tensor:
        """DINO's of class tokens, and that of the hidden patches."""
        whole = torch.cat(list(views[:2]))
        with torch.no_grad():
            taught = self.teacher.head(self.teacher.tokens(whole))
        hidden = self._hidden(whole, step)
        seen = self.student.head(self.student.tokens(whole, hidden))
        logits = list(seen[:, 0].chunk(2))
        if len(views) > 2:
            local = self.student.head(self.student.tokens(torch.cat(list(views[2:]))))
            logits += local[:, 0].chunk(len(views) - 2)
        cls = self.loss_of_pairs(logits, taught[:, 0], step)
        patch = self.loss_of_patches(seen[:, 1:], taught[:, 1:], hidden, step)
        return self.ibot.cls_weight * cls + self.ibot.patch_weight * patch

    def _hidden(self, images: Tensor, step: Step) -> Tensor:
        size = self.student.vit.patch_embed.patch_size
        grid = images.shape[2] // size[0], images.shape[3] // size[1]
        scores = None if self.attention is None else self.attention[:, :, 0, 1:].mean(dim=1)
        return self.masking.draw(step, len(images), grid, scores).flags()

    def loss_of_patches(
        self, student: Tensor, taught: Tensor, hidden: Tensor, step: Step
    ) -> Tensor:
        """The mean over hidden patches of a view, then over views; logits (2B, N, K)."""
        of = self.method.temperatures
        temperature = warmed_up(
            *self.ibot.patch_temperatures, step.epoch - self.ibot.start_epoch, of.warmup_epochs
        )
        targets = ((taught - self.patch_center) / temperature).softmax(dim=-1)
        each = -(targets * functional.log_softmax(student / of.student, dim=-1)).sum(dim=-1)
        self.patch_center = moved(
            self.patch_center, taught.flatten(0, 1), self.ibot.patch_center_momentum
        )
        return ((each * hidden).sum(dim=1) / hidden.sum(dim=1).clamp(min=1)).mean()


def moved(center: Tensor, logits: Tensor, momentum: float) -> Tensor:
    """The running mean after these logits (B, K)."""
    return center * momentum + logits.mean(dim=0, keepdim=True) * (1 - momentum)
