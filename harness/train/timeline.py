"""When student and teacher compute in a step, on a device each: with the whole batch at once and in
micro-batches (arXiv 2302.10494, appendix F, Figure 8).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor

from harness.batch_plan import BatchPlan
from harness.batch_slice import FULL_BATCH
from harness.channel import Channel
from harness.methods import Batch, Networks, Objective, Step, teach_in
from harness.methods.distillation import Distillation
from harness.models.vit import VisionTransformer
from harness.precision import autocast
from harness.train.pipeline import IMAGES, RemotePass, RemoteTeacher, asked, send_output
from harness.train.speed import Mark, mark

TIMES: Final = "times"
"""A message with the beginnings and ends of the passes since the last one (passes, 2), seconds."""

Part: TypeAlias = Literal["student forward", "teacher forward", "student backward"]


@dataclass(frozen=True, slots=True)
class Span:
    """One micro-batch's part of a step; seconds since the step began."""

    part: Part
    micro_batch: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """A step."""

    seconds: float
    spans: tuple[Span, ...]

    @property
    def bound(self) -> float:
        """Seconds of the device that is busy longest: no order of the same work takes less."""
        by_device = {"student": 0.0, "teacher": 0.0}
        for span in self.spans:
            by_device[span.part.split()[0]] += span.end - span.start
        return max(by_device.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A way to compute a step: by what method, in how many micro-batches."""

    method: Distillation
    pieces: int = 1


class Clock:
    """Marks of a device as seconds of the machine's clock, which both processes read."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self._zero, self._at = mark(device), time.monotonic()

    def mark(self) -> Mark:
        """This moment of the device."""
        return mark(self.device)

    def seconds(self, when: Mark) -> float:
        """On the machine's clock; waits for the device to get there."""
        return self._at + self._zero.until(when)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedBatch:
    """What is timed: a batch of random images, for speed does not depend on what is in them."""

    student: VisionTransformer
    teacher: VisionTransformer  # its shape, on the device `meta`
    images: Tensor
    targets: Tensor
    precision: str


def time_steps(
    setup: TimedBatch,
    variants: Mapping[str, Variant],
    channel: Channel,
    *,
    warmup: int,
    repeats: int,
) -> dict[str, list[Timeline]]:
    """The steps of every variant, `repeats` times each, taken in turn so that a drifting machine
    slows all of them alike. The other side of the channel calls `time_teacher`.
    """
    clock, remote = Clock(setup.images.device), RemoteTeacher(channel)
    networks = Networks(student=setup.student, teacher=setup.teacher, elsewhere=remote.begin)
    built = {name: one.method.build(networks) for name, one in variants.items()}
    found: dict[str, list[Timeline]] = {name: [] for name in variants}
    for turn in range(warmup + repeats):
        for name, variant in variants.items():
            own = _step(setup, variant, built[name], remote, clock)
            channel.send({IMAGES: [setup.images[:0]]})  # none: the times are asked for
            message = channel.receive()
            if message is None:
                raise RuntimeError("the process that computes the teacher has ended")
            channel.settle()
            if turn >= warmup:
                found[name].append(_joined(own, message.tensors[TIMES][0].tolist(), clock))
    return found


def time_teacher(
    teacher: VisionTransformer,
    method: Distillation,
    precisions: tuple[str, str | None],
    channel: Channel,
) -> None:
    """Compute the passes that the other side asks for, and tell when; `precisions` are the
    recipe's, of the step and of the teacher alone.
    """
    clock = Clock(next(teacher.parameters()).device)
    marks: list[tuple[Mark, Mark]] = []
    for images, kept in asked(channel, told=lambda: _tell(marks, clock, channel)):
        start = clock.mark()
        with autocast(precisions[0], clock.device):
            output = teach_in(method, teacher, images, kept, precisions[1])
        marks.append((start, clock.mark()))
        send_output(channel, output)


def _tell(marks: list[tuple[Mark, Mark]], clock: Clock, channel: Channel) -> None:
    times = [[clock.seconds(start), clock.seconds(end)] for start, end in marks]
    marks.clear()
    channel.send({TIMES: [torch.tensor(times, dtype=torch.float64, device=clock.device)]})


_Marks: TypeAlias = list[tuple[Part, int, Mark, Mark]]


def _step(
    setup: TimedBatch, variant: Variant, objective: Objective, remote: RemoteTeacher, clock: Clock
) -> tuple[Mark, _Marks]:
    """Forward and backward, without the optimiser's update; when it began and what was when."""
    images, method = setup.images, variant.method
    plan = BatchPlan(batch=len(images), group_size=method.group_size, pieces=variant.pieces)
    spans: _Marks = []
    begun = []
    began = clock.mark()
    for number, rows in enumerate(plan.micro_batches(FULL_BATCH, len(images))):
        chosen = torch.as_tensor(list(rows), device=images.device)
        batch = Batch(images=images[chosen], targets=setup.targets[chosen])
        step = Step(
            index=0,
            total=1,
            generator=torch.Generator().manual_seed(0),
            batch_slice=FULL_BATCH.subset(rows, len(images)),
        )
        start = clock.mark()
        with autocast(setup.precision, clock.device):
            rest = objective.begin(batch, step)
        spans.append(("student forward", number, start, clock.mark()))
        begun.append((len(rows) / len(images), remote.last, rest))
    for number, (weight, taught, rest) in enumerate(begun):
        assert isinstance(taught, RemotePass)
        taught.output()  # the wait for it is no part of the backward pass
        start = clock.mark()
        with autocast(setup.precision, clock.device):
            loss = rest()["total"]
        (loss * weight).backward()  # type: ignore[no-untyped-call]
        spans.append(("student backward", number, start, clock.mark()))
    remote.settle()
    objective.after_step(step)
    setup.student.zero_grad(set_to_none=True)
    return began, spans


def _joined(own: tuple[Mark, _Marks], teacher: Sequence[Sequence[float]], clock: Clock) -> Timeline:
    began, marks = own
    zero = clock.seconds(began)
    spans = [
        Span(part, number, clock.seconds(start) - zero, clock.seconds(end) - zero)
        for part, number, start, end in marks
    ]
    spans += [
        Span("teacher forward", number, start - zero, end - zero)
        for number, (start, end) in enumerate(teacher)
    ]
    return Timeline(max(span.end for span in spans), tuple(spans))


def typical(timelines: Sequence[Timeline]) -> Timeline:
    """The one whose step took the median time (of an even number, the longer of the middle two)."""
    return sorted(timelines, key=lambda one: one.seconds)[len(timelines) // 2]


def median(timelines: Sequence[Timeline]) -> float:
    """Seconds of a step."""
    return statistics.median(one.seconds for one in timelines)
