"""Student and teacher at the same time, on a device each (arXiv 2302.10494, appendix F).

A process computes the student, another one its teacher. Of a step's micro-batches the student
computes all forward passes, one after the other; as soon as one of them has chosen the patches, the
teacher starts on it. Then the student goes back through them, each when the teacher's output has
come. One micro-batch is what the paper calls naive: the teacher waits for the whole batch.

Losses and gradients are those of a step in micro-batches by one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Self

import torch
from torch import Tensor

from harness.channel import Channel, Received, open_channel
from harness.distributed import DistContext
from harness.methods import Networks, TeacherPass, teach_in
from harness.models.interface import ForwardOutput
from harness.models.vit import VisionTransformer
from harness.precision import autocast
from harness.train.compiled import compile_blocks
from harness.train.config import TrainConfig

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

IMAGES: Final = "images"
"""Of a pass that is asked for."""
KEPT: Final = "kept"
"""Which patches of them are seen; none: all."""
NAN_FLAG: Final = "nan_flag"
"""What a watched teacher knows of numbers that are not finite: `VisionTransformer.watch_nans`."""


@dataclass(frozen=True, slots=True)
class PipelinePlace:
    """What a process of a run in a pipeline is: of each two, the first trains the student."""

    students: DistContext  # this process among those that train; of a teacher, its student's place
    teaches: bool

    @classmethod
    def of(cls, dist: DistContext) -> Self:
        """Neighbours: so they are on one node wherever nodes have an even number."""
        assert dist.size % 2 == 0
        return cls(DistContext(dist.rank // 2, dist.size // 2), bool(dist.rank % 2))

    @contextmanager
    def channel(self, store: Store, device: torch.device) -> Iterator[Channel]:
        """To the other one of the two."""
        name = f"pipeline-{self.students.rank}"
        with open_channel(store, name, int(self.teaches), device) as channel:
            yield channel


class RemoteTeacher:
    """The teacher as the student's process has it."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._due: list[RemotePass] = []  # passes whose outputs have not come, in order
        self._copy: VisionTransformer | None = None
        self.last: RemotePass | None = None  # that began
        self.asked_to_stop = False  # its process was

    def instead_of(self, networks: Networks) -> Networks:
        """The same networks, with passes of the teacher computed elsewhere. This process keeps its
        copy for evaluations, and to remember whether the teacher's numbers are finite.
        """
        self._copy = networks.teacher
        return replace(networks, elsewhere=self.begin)

    def begin(self, images: Tensor) -> RemotePass:
        """A pass; the images leave together with the choice of patches."""
        self.last = RemotePass(self, images)
        return self.last

    def ask(self, wanted: RemotePass, kept: Tensor | None) -> None:
        """Send a pass on its way."""
        message = {IMAGES: [wanted.images]}
        if kept is not None:
            message[KEPT] = [kept]
        self._channel.send(message, flag=not self._due)
        self._due.append(wanted)

    def receive(self, wanted: RemotePass) -> None:
        """Take outputs, in the order of their passes, until this one's has come."""
        while wanted in self._due:
            message = self._channel.receive()
            if message is None:  # with an error, which its own process tells
                raise RuntimeError("the process that computes the teacher has ended")
            self.asked_to_stop |= message.flag
            if self._copy is not None and NAN_FLAG in message.tensors:
                self._copy.note_nans(message.tensors[NAN_FLAG][0])
            self._due.pop(0).arrived = _output(message)

    def settle(self) -> None:
        """At the end of a step: what was sent is free again."""
        assert not self._due
        self._channel.settle()


class RemotePass(TeacherPass):
    """One forward pass of a teacher elsewhere."""

    def __init__(self, remote: RemoteTeacher, images: Tensor) -> None:
        self._remote, self.images = remote, images
        self.arrived: ForwardOutput | None = None

    def show(self, kept: Tensor | None) -> None:
        self._remote.ask(self, kept)

    def output(self) -> ForwardOutput:
        if self.arrived is None:
            self._remote.receive(self)
        assert self.arrived is not None
        return self.arrived


def teach(
    config: TrainConfig,
    teacher: VisionTransformer,
    channel: Channel,
    stopping: Callable[[], bool],
) -> None:
    """Compute the passes that the student's process asks for, until it ends."""
    device = next(teacher.parameters()).device
    if config.recipe.compile == "blocks":
        compile_blocks([teacher], device)
    for images, kept in asked(channel):
        with autocast(config.recipe.precision, device):
            output = teach_in(config.method, teacher, images, kept, config.recipe.teacher_precision)
        send_output(channel, output, teacher.nan_flag, stopping=stopping())


def asked(
    channel: Channel, told: Callable[[], None] | None = None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The images of each pass, and which patches of them the teacher sees; `told` is called where
    a message has no images.
    """
    while (message := channel.receive()) is not None:
        if message.flag:  # a new step: the outputs of the last one have come
            channel.settle()
        if told is not None and not len(message.tensors[IMAGES][0]):
            told()
            continue
        yield message.tensors[IMAGES][0], message.tensors.get(KEPT, [None])[0]


def send_output(
    channel: Channel,
    output: ForwardOutput,
    nan_flag: Tensor | None = None,
    *,
    stopping: bool = False,
) -> None:
    """What a pass gave, to the student's process."""
    tensors: dict[str, Sequence[Tensor]] = {} if nan_flag is None else {NAN_FLAG: [nan_flag]}
    for one in fields(output):
        value = getattr(output, one.name)
        if value is not None:
            tensors[one.name] = value if isinstance(value, tuple) else [value]
    channel.send(tensors, flag=stopping)


def _output(message: Received) -> ForwardOutput:
    values: dict[str, Any] = {}
    for one in fields(ForwardOutput):
        sent = message.tensors.get(one.name)
        several = one.default == ()
        values[one.name] = tuple(sent or ()) if several else sent[0] if sent else None
    return ForwardOutput(**values)
