"""DETR's loss against every assignment in turn, in float64; token matching against its formula."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from harness.batch_slice import BatchSlice
from harness.errors import FieldError
from harness.masking.attention import DetectionAttention
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, DistillationObjective, Mask
from harness.methods.labels.set_loss import SetLoss
from harness.methods.losses.logit import Logit
from harness.methods.losses.tokens import TokenMatching
from harness.methods.supervised import Supervised
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.interface import ForwardOutput, ForwardRequest
from harness.models.vit import VisionTransformer
from tests.models.networks import build

CLASSES, TOKENS = 3, 5
ONE = [2, 0.5, 0.4, 0.3, 0.2, 0]
OBJECTS = torch.tensor(
    [
        [ONE, [0, 0.2, 0.7, 0.1, 0.4, 0], [1, 0.7, 0.3, 0.5, 0.5, 1], [-1, 0, 0, 0, 0, 0]],
        [[-1, 0, 0, 0, 0, 0]] * 4,
        [ONE, [2, 0.6, 0.4, 0.3, 0.2, 0], [1, 0.8, 0.8, 0.3, 0.3, 0], [1, 0.1, 0.1, 0.2, 0.2, 0]],
    ]
)


def step(images: int = 3) -> Step:
    generator = torch.Generator().manual_seed(0)
    return Step(index=0, total=1, generator=generator, batch_slice=BatchSlice())


def output(images: int = 3) -> ForwardOutput:
    draws = torch.Generator().manual_seed(4)
    return ForwardOutput(
        logits=torch.randn(images, TOKENS, CLASSES + 1, generator=draws).requires_grad_(),
        boxes=torch.rand(images, TOKENS, 4, generator=draws).requires_grad_(),
        saliency=None,
    )


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Of two boxes: centre and sides (arXiv 1902.09630)."""
    low, high = [], []
    for box in (one, other):
        low.append(box[:2] - box[2:] / 2)
        high.append(box[:2] + box[2:] / 2)
    inside = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod()
    around = (torch.maximum(*high) - torch.minimum(*low)).prod()
    union = one[2:].prod() + other[2:].prod() - inside
    return inside / union - (around - union) / around


def reference(logits: Tensor, boxes: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Written from the paper; every assignment is tried."""
    objects = [[row for row in rows if row[0] >= 0 and row[5] == 0] for rows in targets.double()]
    total = max(1, sum(map(len, objects)))
    cross = weights = l1 = overlap = torch.zeros((), dtype=torch.float64)
    for image, truth in enumerate(objects):
        log_p = logits[image].double().log_softmax(dim=1)
        mine = boxes[image].double()

        def costs(pairs: list[tuple[int, Tensor]], p: Tensor = log_p, b: Tensor = mine) -> Tensor:
            terms = [
                -p[token, int(row[0])].exp()
                + 5 * (b[token] - row[1:5]).abs().sum()
                - 2 * giou(b[token], row[1:5])
                for token, row in pairs
            ]
            return torch.stack([torch.zeros((), dtype=torch.float64), *terms]).sum()

        assignments = [
            list(zip(tokens, truth, strict=True))
            for tokens in permutations(range(TOKENS), len(truth))
        ]
        best = min(assignments, key=lambda pairs: float(costs(pairs).detach()))
        taken = dict(best)
        for token in range(TOKENS):
            label = int(taken[token][0]) if token in taken else CLASSES
            weight = 1.0 if token in taken else 0.1
            cross, weights = cross - weight * log_p[token, label], weights + weight
        for token, row in best:
            l1 = l1 + (mine[token] - row[1:5]).abs().sum()
            overlap = overlap + 1 - giou(mine[token], row[1:5])
    return {"class": cross / weights, "l1": 5 * l1 / total, "giou": 2 * overlap / total}


def test_the_loss_is_that_of_the_best_of_all_assignments() -> None:
    found = output()
    loss = SetLoss(TOKENS)
    assert found.boxes is not None
    loss.prepare([(Batch(images=OBJECTS, targets=OBJECTS), step())])
    terms = loss(found, OBJECTS)
    expected = reference(found.logits, found.boxes, OBJECTS)
    assert list(terms) == list(expected)
    for name, value in terms.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    grads = torch.autograd.grad(
        torch.stack(list(terms.values())).sum(), [found.logits, found.boxes]
    )
    wanted = torch.autograd.grad(
        torch.stack(list(expected.values())).sum(), [found.logits, found.boxes]
    )
    for one, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_add_up_to_its_loss() -> None:
    found, loss = output(), SetLoss(TOKENS)
    assert found.boxes is not None
    parts = [slice(0, 1), slice(1, 3)]
    loss.prepare([(Batch(images=OBJECTS, targets=OBJECTS), step())])
    whole = loss(found, OBJECTS)
    loss.prepare([(Batch(images=OBJECTS[p], targets=OBJECTS[p]), step()) for p in parts])
    summed = dict.fromkeys(whole, 0.0)
    for part in parts:
        piece = ForwardOutput(logits=found.logits[part], boxes=found.boxes[part], saliency=None)
        for name, value in loss(piece, OBJECTS[part]).items():
            summed[name] += float(value.detach()) * len(OBJECTS[part]) / 3
    assert summed == pytest.approx({name: float(value.detach()) for name, value in whole.items()})


def test_images_without_objects_teach_that_there_is_nothing() -> None:
    found, loss = output(1), SetLoss(TOKENS)
    nothing = OBJECTS[1:2]
    loss.prepare([(Batch(images=nothing, targets=nothing), step())])
    terms = loss(found, nothing)
    assert not terms["l1"].any()
    assert not terms["giou"].any()
    expected = -found.logits.log_softmax(dim=2)[0, :, CLASSES].mean()
    torch.testing.assert_close(terms["class"], expected)


def test_more_objects_than_tokens_are_no_error() -> None:
    many = OBJECTS[2:].repeat(1, 2, 1)
    found, loss = output(1), SetLoss(TOKENS)
    loss.prepare([(Batch(images=many, targets=many), step())])
    terms = loss(found, many)
    assert all(torch.isfinite(value) for value in terms.values())


SHAPE = {"arch": "yolos", "image_size": 16, "patch_size": 4, "detection_tokens": TOKENS}


def network(width: int) -> VisionTransformer:
    config = ModelConfig(**SHAPE, width=width, depth=2, heads=2)  # type: ignore[arg-type]
    return build(config, CLASSES, channels=1, seed=width)


@pytest.mark.parametrize("keep", [6, 16])
def test_token_matching_compares_kept_patches_and_detection_tokens(keep: int) -> None:
    method = Distillation(
        loss=TokenMatching(), weight=4.0, mask=Mask(keep=keep, criterion=DetectionAttention())
    )
    student, teacher = network(8), freeze(network(16))
    objective = method.build(Networks(student=student, teacher=teacher))
    assert isinstance(objective, DistillationObjective)
    images = torch.randn(3, 1, 16, 16)
    batch = Batch(images=images, targets=OBJECTS)
    objective.before_losses(iter([(batch, step())]))
    losses = objective.losses(batch, step())

    asked = ForwardRequest(patches=True)
    of_student = student(images, outputs=asked)
    rows = attention_of_detections(student, images)
    kept = rows.topk(keep, dim=1).indices
    of_teacher = teacher(images, keep=kept, outputs=asked)
    weight, bias = objective.modules["adapter"].parameters()
    total = torch.zeros((), dtype=torch.float64)
    for image in range(3):
        distance = torch.zeros((), dtype=torch.float64)
        for token in range(keep):
            patch = of_student.patches[image, kept[image, token]] @ weight.T + bias
            distance += (patch - of_teacher.patches[image, token]).norm().double() / keep
        for token in range(TOKENS):
            mine = of_student.detections[image, token] @ weight.T + bias
            distance += (mine - of_teacher.detections[image, token]).norm().double() / TOKENS
        total += distance.sqrt() / 3
    torch.testing.assert_close(losses["distill"].double(), total, rtol=1e-5, atol=1e-6)
    labels = losses["class"] + losses["l1"] + losses["giou"]
    torch.testing.assert_close(losses["total"], labels + 4 * losses["distill"])
    losses["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (weight, bias))
    assert all(p.grad is not None for n, p in student.named_parameters() if "cls" not in n)


def test_a_student_that_is_its_teacher_gets_no_gradient() -> None:
    tokens = torch.randn(2, TOKENS, 8, requires_grad=True)
    copy = replace(output(2), patches=tokens, detections=tokens)
    TokenMatching()(copy, copy, None).backward()
    assert tokens.grad is not None
    assert not tokens.grad.any()


def attention_of_detections(student: VisionTransformer, images: Tensor) -> Tensor:
    """Attention of the last block, written out."""
    vit = student.vit
    tokens = torch.cat([vit.cls_token, vit.reg_token], dim=1).expand(len(images), -1, -1)
    tokens = torch.cat([tokens, vit.patch_embed(images)], dim=1) + vit.pos_embed
    last = vit.blocks[1]
    normed = last.norm1(vit.blocks[0](tokens))
    query, key, _ = last.attn.qkv(normed).view(3, 22, 3, 2, 4).permute(2, 0, 3, 1, 4)
    attention = (query @ key.transpose(2, 3) / 2).softmax(dim=3)
    return attention[:, :, 1 : 1 + TOKENS, 1 + TOKENS :].mean(dim=(1, 2))


def test_what_does_not_go_together_is_said() -> None:
    detector = ModelConfig(**SHAPE, width=8, depth=2, heads=2).shape  # type: ignore[arg-type]
    other = ModelConfig(**{**SHAPE, "detection_tokens": 7}, width=8, depth=2, heads=2).shape  # type: ignore[arg-type]
    classifier = ModelConfig(
        arch="vit", image_size=16, patch_size=4, width=8, depth=2, heads=2
    ).shape
    cases = [
        (
            Distillation(loss=Logit()),
            detector,
            detector,
            "networks that tell classes and masks, these tell",
        ),
        (
            Distillation(loss=TokenMatching()),
            detector,
            classifier,
            "tells classes of an image, and",
        ),
        (
            Distillation(loss=TokenMatching()),
            classifier,
            classifier,
            "tell boxes, these tell class",
        ),
        (Distillation(loss=TokenMatching()), detector, other, "they have 5 and 7"),
        (
            Distillation(loss=TokenMatching(), teacher_accuracy=True),
            detector,
            detector,
            "not boxes",
        ),
    ]
    for method, student, teacher, words in cases:
        with pytest.raises(FieldError, match=words):
            method.check({"student": student, "teacher": teacher}, None)  # type: ignore[arg-type]


def test_a_detector_learns_from_labels_alone() -> None:
    objective = Supervised().build(Networks(student=network(8), teacher=None))
    batch = Batch(images=torch.randn(3, 1, 16, 16), targets=OBJECTS)
    objective.before_losses(iter([(batch, step())]))
    losses = objective.losses(batch, step())
    assert set(losses) == {"total", "class", "l1", "giou"}
    torch.testing.assert_close(losses["total"], losses["class"] + losses["l1"] + losses["giou"])
