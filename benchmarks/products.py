"""The matrix products of a training step of MaskedKD, to be computed alone: how fast the machine
multiplies matrices of just these shapes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

from harness.models.architectures import Architecture


@dataclass(frozen=True)
class Product:
    """(stack, rows, inner) @ (stack, inner, columns)."""

    rows: int
    inner: int
    columns: int
    stack: int = 1  # so many matrices: one for each head and image, in attention

    @property
    def macs(self) -> int:
        """Multiply-adds."""
        return self.stack * self.rows * self.inner * self.columns

    @property
    def backward(self) -> tuple[Product, Product]:
        """What gives the gradients of the left and of the right matrix."""
        return (
            Product(self.rows, self.columns, self.inner, self.stack),
            Product(self.inner, self.rows, self.columns, self.stack),
        )


def embedding(shape: Architecture, keep: int, batch: int) -> Product:
    """Of `keep` patches of each image."""
    return Product(batch * keep, shape.channels * shape.patch_size**2, shape.width)


def after_embedding(shape: Architecture, keep: int, batch: int, classes: int) -> Counter[Product]:
    """How often which product comes in a forward pass of a plain ViT on `keep` patches, when only
    the class token leaves the last block.
    """
    tokens, width = 1 + keep, shape.width
    products: Counter[Product] = Counter()
    for queries, blocks in ((tokens, shape.depth - 1), (1, 1)):
        rows, stack, wide = batch * queries, batch * shape.heads, width // shape.heads
        every = {
            Product(batch * tokens, width, 2 * width): 1,  # keys and values
            Product(queries, wide, tokens, stack): 1,  # scores
            Product(queries, tokens, wide, stack): 1,  # attention
            Product(rows, width, width): 2,  # queries; after attention
            Product(rows, width, 4 * width): 1,
            Product(rows, 4 * width, width): 1,
        }
        if queries == tokens:  # one product gives queries, keys and values
            del every[Product(batch * tokens, width, 2 * width)]
            every |= {Product(rows, width, width): 1, Product(rows, width, 3 * width): 1}
        products.update({product: times * blocks for product, times in every.items()})
    products[Product(batch, width, classes)] += 1
    return products


def of_step(
    student: Architecture, teacher: Architecture, keep: int, batch: int, classes: int
) -> Counter[Product]:
    """The student forward and backward on all patches, the teacher forward on `keep`."""
    first = embedding(student, student.patches, batch)
    forward = after_embedding(student, student.patches, batch, classes)
    products = Counter({first: 1}) + forward
    products[first.backward[1]] += 1  # images have no gradient
    for product, times in forward.items():
        for gradient in product.backward:
            products[gradient] += times
    products[embedding(teacher, keep, batch)] += 1
    return products + after_embedding(teacher, keep, batch, classes)


def multiplied(products: Counter[Product], device: torch.device) -> Callable[[], None]:
    """Computes all of them, on random matrices that lie ready."""
    work = []
    for product, times in products.items():
        left = torch.randn(product.stack, product.rows, product.inner, device=device)
        right = torch.randn(product.stack, product.inner, product.columns, device=device)
        if product.stack == 1:
            left, right = left[0], right[0]
        work.append((left, right, left @ right, times))

    def run() -> None:
        for left, right, out, times in work:
            for _ in range(times):
                torch.matmul(left, right, out=out)

    return run
