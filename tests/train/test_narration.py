"""The lines of a row's log."""

from __future__ import annotations

from harness.train.narration import Narrator


def narrated(start: int = 0) -> tuple[Narrator, list[str], list[float]]:
    """A narrator of 4 epochs of 10 steps, what it says, and the time."""
    said: list[str] = []
    now = [0.0]
    made = Narrator(
        said.append, start=start, total=40, per_epoch=10, batch=64, clock=lambda: now[0]
    )
    return made, said, now


def test_a_line_has_epoch_loss_rate_and_what_is_left() -> None:
    narrator, said, now = narrated()
    now[0] = 20.0
    narrator.losses(10, loss=1.23456, rate=5e-4)
    assert said == [
        "epoch 1 of 4, step 10 of 40: loss 1.235, rate 0.0005, 32 images/s, 1 min 00 s left"
    ]


def test_there_is_at_most_a_line_in_ten_seconds_and_always_a_last_one() -> None:
    narrator, said, now = narrated()
    for step in range(1, 41):
        now[0] += 4.0
        narrator.losses(step, loss=1.0, rate=1e-3)
    steps = [line.split("step ")[1].split(" of")[0] for line in said]
    assert steps == [
        "1",
        "4",
        "7",
        "10",
        "13",
        "16",
        "19",
        "22",
        "25",
        "28",
        "31",
        "34",
        "37",
        "40",
    ]


def test_a_resumed_run_counts_its_own_steps() -> None:
    narrator, said, now = narrated(start=20)
    now[0] = 10.0
    narrator.losses(30, loss=1.0, rate=1e-3)
    assert said[0].endswith("64 images/s, 10 s left")


def test_an_evaluation_is_a_line() -> None:
    narrator, said, _ = narrated()
    narrator.evaluated(20, {"val/top1": 71.234, "val/loss": 0.9876})
    assert said == ["epoch 2 of 4: val/top1 71.23, val/loss 0.9876"]
