"""What masked autoencoders have beside a plain ViT: fixed positions of sines and cosines, their own
initialisation, and a light decoder (arXiv 2111.06377, as released).
"""

from __future__ import annotations

import torch
from timm.layers.norm import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from harness.models.vit import VisionTransformer

BASE = 10_000.0  # of the wavelengths
CLASSIFIER = 2e-5  # standard deviation of its weights at first


def sine_cosine_positions(rows: int, columns: int, width: int) -> Tensor:
    """Positions (rows * columns, width) of a grid in raster order; 4 divides `width`.

    Four quarters: sine and cosine of the column, then of the row, each at `width` / 4 frequencies
    from 1 down to almost 1 / 10,000.
    """
    assert width % 4 == 0
    quarter = width // 4
    frequency = BASE ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    place = torch.arange(rows * columns, dtype=torch.float64)
    column, row = place % columns, place.div(columns, rounding_mode="floor")
    angles = [coordinate[:, None] * frequency for coordinate in (column, row)]
    return torch.cat([wave for one in angles for wave in (one.sin(), one.cos())], dim=1).float()


@torch.no_grad()
def set_fixed_positions(model: VisionTransformer) -> None:
    """Sines and cosines in place of the position embeddings, 0 for the class token."""
    embedding: Tensor = model.vit.pos_embed
    waves = sine_cosine_positions(*model.grid, embedding.shape[2])
    embedding.zero_()
    embedding[0, embedding.shape[1] - len(waves) :] = waves.to(embedding.device)


@torch.no_grad()
def init_as_mae(model: VisionTransformer) -> None:
    """Draw a network's weights anew: Xavier for every matrix, the joint one of queries, keys and
    values and the patch projection among them; the class token normal 0.02; fixed positions.

    The classifier, which has no part before fine-tuning, is almost 0 (normal 2e-5): whatever the
    features are, a fine-tuning begins with the same probability for every class.
    """
    model.vit.apply(_init_linear)
    projection = model.vit.patch_embed.proj
    nn.init.xavier_uniform_(projection.weight.view(len(projection.weight), -1))
    nn.init.normal_(model.vit.cls_token, std=0.02)
    if isinstance(model.vit.head, nn.Linear):
        nn.init.trunc_normal_(model.vit.head.weight, std=CLASSIFIER)
    set_fixed_positions(model)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class PixelDecoder(nn.Module):
    """Guesses the pixels of patches that an encoder did not see, from those that it saw.

    A small ViT of its own: a linear layer to its width, one learned token for every hidden patch,
    fixed positions, blocks, a norm, and a linear layer to pixels. It has no order but what the
    positions tell: hidden patches stand first, and only they reach the last layer.
    """

    positions: Tensor

    def __init__(
        self,
        inputs: int,
        *,
        width: int,
        depth: int,
        heads: int,
        grid: tuple[int, int],
        outputs: int,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, qkv_bias=True, norm_layer=LayerNorm) for _ in range(depth)
        )
        self.norm = LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        positions = sine_cosine_positions(*grid, width)
        self.register_buffer("positions", positions, persistent=False)
        self.apply(_init_linear)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, seen: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        """Guesses (B, M, outputs) for the patches `hidden` (B, M).

        `seen` (B, 1 + K, inputs) are the encoder's class token and its tokens of the patches `keep`
        (B, K), in that order; both name patches by raster indices.
        """
        tokens = self.embed(seen)
        visible = tokens[:, 1:] + self.positions[keep]
        masked = self.mask_token + self.positions[hidden]
        x = torch.cat([masked, tokens[:, :1], visible], dim=1)
        for block in self.blocks:
            x = block(x)
        guesses: Tensor = self.head(self.norm(x[:, : hidden.shape[1]]))
        return guesses
