"""Mean intersection over union by hand and by brute force; windows over large images."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.errors import DataError
from harness.evaluate.segmentation import Confusion, pixel_scores, segment, windows
from harness.models.segmenter import on_pixels
from tests.models.test_segmenter import CLASSES, built


def test_miou_by_hand() -> None:
    """Four classes, of which the last appears nowhere; two pixels that nobody knows."""
    truth = torch.tensor([[0, 0, 0, 1], [1, 1, 2, 255], [0, 0, 255, 2]], dtype=torch.uint8)
    found = torch.tensor([[0, 0, 1, 1], [1, 0, 0, 3], [0, 0, 0, 2]])
    confusion = Confusion(4)
    confusion.add(found[:1], truth[:1])  # in parts, as batches come
    confusion.add(found[1:], truth[1:])
    # class 0: 4 right of 5, 2 others taken for it; class 1: 2 of 3, 1 other; class 2: 1 of 2
    assert confusion.iou[:3].tolist() == pytest.approx([4 / 7, 2 / 4, 1 / 2])
    assert math.isnan(confusion.iou[3])
    metrics = confusion.metrics()
    assert metrics["miou"] == pytest.approx(100 * (4 / 7 + 1 / 2 + 1 / 2) / 3)
    assert metrics["pixel_accuracy"] == pytest.approx(70)
    assert metrics["one_class_miou"] == pytest.approx(100 * (5 / 10) / 3)


def test_a_class_that_is_only_guessed_counts_as_wrong() -> None:
    confusion = Confusion(3)
    confusion.add(torch.tensor([0, 2]), torch.tensor([0, 0]))
    assert confusion.iou.tolist()[::2] == [0.5, 0.0]
    assert confusion.metrics()["miou"] == pytest.approx(25)


def brute_force(found: Tensor, truth: Tensor, classes: int) -> float:
    ious = []
    for one in range(classes):
        taken = {i for i, value in enumerate(found.tolist()) if value == one}
        true = {i for i, value in enumerate(truth.tolist()) if value == one}
        known = {i for i, value in enumerate(truth.tolist()) if value != 255}
        taken &= known
        if taken | true:
            ious.append(len(taken & true) / len(taken | true))
    return 100 * math.fsum(ious) / len(ious)


@pytest.mark.parametrize("seed", range(5))
def test_miou_equals_sets_of_pixels(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    truth = torch.randint(0, 6, (400,), generator=draws, dtype=torch.uint8)
    truth[torch.rand(400, generator=draws) < 0.2] = 255
    found = torch.randint(0, 9, (400,), generator=draws)
    confusion = Confusion(9)
    confusion.add(found, truth)
    assert confusion.metrics()["miou"] == pytest.approx(brute_force(found, truth, 9), rel=1e-12)


def test_windows_cover_an_image_and_none_leaves_it() -> None:
    assert list(windows(32, 32, 32)) == [(0, 0)]
    assert list(windows(32, 75, 32)) == [(0, 0), (0, 32), (0, 43)]
    assert list(windows(64, 33, 32)) == [(0, 0), (0, 1), (32, 0), (32, 1)]


def test_scores_of_a_large_image_are_means_of_its_windows() -> None:
    model = built()
    image = torch.randn(1, 3, 32, 50, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        left, right = (
            on_pixels(model(image[..., at : at + 32]).logits, (4, 4), (32, 32)).double()
            for at in (0, 18)
        )
        found = pixel_scores(model, image, (32, 50)).double()
    torch.testing.assert_close(found[..., :18], left[..., :18], rtol=1e-5, atol=1e-6)
    both = (left[..., 18:] + right[..., :14]) / 2
    torch.testing.assert_close(found[..., 18:32], both, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[..., 32:], right[..., 14:], rtol=1e-5, atol=1e-6)
    with torch.no_grad():  # scores, not classes, are brought to the size of the mask
        twice = pixel_scores(model, image, (64, 100)).double()
    expected = torch.nn.functional.interpolate(found, (64, 100), mode="bilinear")
    torch.testing.assert_close(twice, expected, rtol=1e-5, atol=1e-6)


def test_images_of_many_sizes_are_judged_at_the_size_of_their_masks() -> None:
    model = built().train()
    draws = torch.Generator().manual_seed(6)
    batches = [
        (
            torch.randn(1, 3, *size, generator=draws),
            torch.randint(0, CLASSES, (1, *of_mask), generator=draws, dtype=torch.uint8),
        )
        for size, of_mask in (((32, 40), (50, 64)), ((32, 32), (17, 17)))
    ]
    batches[0][1][:, :9] = 255
    found = segment(model, batches)
    assert model.training
    model.eval()
    guesses, truths, losses = [], [], []
    for image, mask in batches:
        with torch.no_grad():
            scores = pixel_scores(model, image, (mask.shape[1], mask.shape[2])).double()
        guesses.append(scores.argmax(dim=1).flatten())
        truths.append(mask.flatten())
        known = mask[0] != 255
        right = scores[0].log_softmax(dim=0).gather(0, mask.long().clamp(max=CLASSES - 1))[0]
        losses.append(-float(right[known].mean()))
    expected = brute_force(torch.cat(guesses), torch.cat(truths), CLASSES)
    assert found["miou"] == pytest.approx(expected, rel=1e-9)
    assert found["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)


def test_masks_that_know_no_pixel_are_no_judges() -> None:
    """Else the result would be NaN."""
    nothing = torch.full((2, 32, 32), 255, dtype=torch.uint8)
    with pytest.raises(DataError, match="the masks that judge hold no pixel of a known class"):
        segment(built(), [(torch.zeros(2, 3, 32, 32), nothing)])
