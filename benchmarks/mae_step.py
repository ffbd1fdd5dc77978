"""What MAE saves by an encoder that sees no hidden patch, as a ratio of steps.

    python benchmarks/mae_step.py [--device cpu] [--batch 8] [--repeats 7] [--csv FILE]

ViT-B/16 at 224 px, MAE's decoder (8 blocks x 512), three quarters of the patches hidden, fp32,
random images: forward and backward, AdamW. Held against the same step with mask tokens in the
encoder: it then runs on all patches, as BEiT's and SimMIM's. Both are timed in turn within one
process, so a drifting machine slows them alike; the ratio is a median over turns.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from options import compared, options, show
from torch import Tensor

from harness.evaluate.throughput import interleaved_seconds
from harness.methods import Batch, Networks, Step
from harness.methods.mae import Mae, MaeObjective
from harness.models.build import build_model
from harness.models.config import ModelConfig
from harness.models.interface import ForwardRequest
from harness.models.vit import Normalisation
from harness.seeding import generator
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer

ARCH = "vit_base_patch16_224"
TOTAL = 1000
MAE, WHOLE = "MAE", "encoder on all patches"


class WholeEncoder(MaeObjective):
    """The encoder has a token for every hidden patch too (arXiv 2111.06377, Table 1c)."""

    def encoded(self, images: Tensor, keep: Tensor) -> Tensor:
        """Class token and tokens of what is seen, out of a pass over all places."""
        hidden = torch.ones(len(images), self.student.patches, dtype=torch.bool)
        hidden = hidden.to(images.device).scatter_(1, keep, False)
        token = torch.zeros(1, self.student.vit.embed_dim, device=images.device)
        outputs = ForwardRequest(patches=True)
        normed = self.student.forward_features(
            images, mask=hidden, mask_token=token, outputs=outputs
        ).normed
        places = torch.cat([torch.zeros_like(keep[:, :1]), keep + 1], dim=1)
        return normed.gather(1, places.unsqueeze(-1).expand(-1, -1, normed.shape[-1]))


def training_step(name: str, batch: int, device: torch.device) -> Callable[[], object]:
    """A whole optimiser step on a fixed random batch; the masks are other ones at every step."""
    seen = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.manual_seed(0)
    config = ModelConfig(arch=ARCH, init="mae")
    student = build_model(config, classes=1, channels=3, input_norm=seen, dependencies={})
    networks = Networks(student=student.to(device).train(), teacher=None)
    objective = (MaeObjective if name == MAE else WholeEncoder)(Mae(), networks)
    optimizer = build_optimizer(objective.modules, Recipe(epochs=1, batch_size=batch, lr=1e-4))
    images = torch.randn(batch, 3, 224, 224, device=device)
    data = Batch(images=images, targets=torch.zeros(batch, 1, device=device))
    indices = count()

    def run() -> None:
        index = next(indices)
        draws = generator(0, "method", index)
        step = Step(index=index, total=TOTAL, generator=draws, per_epoch=TOTAL)
        objective.losses(data, step)["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step(step)

    return run


def main() -> None:
    """One line."""
    arguments = options(__doc__, batch=8)
    batch, device = arguments.batch, torch.device(arguments.device)
    steps = {name: training_step(name, batch, device) for name in (MAE, WHOLE)}
    seconds = interleaved_seconds(steps, device=device, warmup=1, repeats=arguments.repeats)
    about = f"{ARCH}, 224 px, a decoder of 8 blocks x 512, batch {batch}"
    show([compared(WHOLE, MAE, seconds)], about, arguments)


if __name__ == "__main__":
    main()
