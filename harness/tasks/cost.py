"""What student and teacher cost, counted from their shapes: no data, no weights, no training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal, Self

from harness.data import open_dataset, train_images
from harness.data.dataset import LABELLINGS, Labelling
from harness.errors import RunFailed
from harness.evidence import Baseline, Evidence, FigureOf
from harness.models.architectures import Architecture
from harness.models.config import ModelConfig
from harness.models.cost import Macs, efficient_macs, published_macs
from harness.models.families import family_of
from harness.models.interface import Queries
from harness.models.merging import merged_macs
from harness.run import TASKS, RunContext, Task
from harness.shown_patches import TEACHER_COST, UNMASKED
from harness.train.config import TrainConfig

KILO, MEGA, GIGA, TERA, PETA = 1e3, 1e6, 1e9, 1e12, 1e15
PARTS = ("attention", "projections", "mlp", "blocks", "embedding", "head")
PER_PASS = frozenset(
    {"teacher/gmacs", "teacher/computed_gmacs"} | {f"teacher/{p}_gmacs" for p in PARTS}
)
FROZEN = frozenset({"teacher/train_pmacs", "teacher/epoch_tmacs"})
SELF_TAUGHT = frozenset({"teacher/one_view_pmacs", "teacher/views_pmacs"})
SUPERVISION = FigureOf(
    figure="supervision",
    id="supervision",
    source="student/train_gmacs",
    beside="teacher/gmacs",
    caption="Multiply-adds of one image: training the student (forward and backward), and one pass "
    "of the teacher that supervises it. Where the teacher lies to the right of the student, "
    "supervision costs more than training.",
    alt="Cost of the teacher against that of training the student, by pair of networks",
)
STUDENTS = frozenset({"student/train_gmacs", "supervision_ratio"})
CHOICE = frozenset({"choice/gmacs", "choice/kflops"})
ACTIVATIONS = frozenset({"student/activation_mb", "teacher/activation_mb", "activation_mb"})
TAUGHT_VIEWS = 2  # the global ones
STEP_PASSES = 3  # of a trained network: forward, and backward twice as much


@TASKS.register("cost")
@dataclass(frozen=True, kw_only=True, slots=True)
class CostRun(Task):
    """Multiply-adds of a (masked) teacher, and activations of student and teacher.

    Of one forward pass, in 1e9: `teacher/gmacs` as the papers count, `teacher/computed_gmacs` what
    this package computes, and by operation, as arXiv 2302.10494, Table 10:
    `teacher/attention_gmacs`, `.../projections_gmacs`, `.../mlp_gmacs`, their sum
    `.../blocks_gmacs`, and what that table leaves out, `.../embedding_gmacs` and `.../head_gmacs`.
    Closed forms, held against torch's counter.

    Over a training, in 1e15. A frozen teacher sees every image once an epoch:
    `teacher/train_pmacs`; over one epoch, in 1e12, `teacher/epoch_tmacs` (Table 3 there). A
    self-taught one sees both global views: `teacher/views_pmacs`; Table 4 of that paper counts one,
    `teacher/one_view_pmacs`. Its projection head is not counted.

    `student/train_gmacs`, in 1e9, is one image through the student and back: three times the
    forward pass, without the gradient of the image, which no one needs; and `supervision_ratio`
    the teacher's pass over it (the same paper, Figure 1). Of students with a frozen teacher.

    What choosing patches costs for an image, as the papers count, with attention written out:
    `choice/gmacs` the multiply-adds of passes that are run for that alone, 0 where the attention
    is a by-product of training's own, and `choice/kflops`, in 1e3, the additions that average the
    class token's attention over heads (section 3.2 there).

    Activations of a forward pass on a batch, in MB (1e6 bytes) at fp32: `student/activation_mb`,
    `teacher/activation_mb` and their sum `activation_mb` are what a backward pass would need,
    without the weights, attention written out as in the released code. The teacher keeps none of it
    at once; its figure says how its work in memory falls with the patches. Of frozen teachers that
    merge nothing. The peak itself is measured by the task `memory`, on a GPU.
    """

    student: ModelConfig
    teacher: ModelConfig
    keep: int  # patches
    merge: int = 0  # tokens that every block of the teacher merges away
    classes: int  # 0: a self-taught teacher has no classifier
    train_images: int
    epochs: float
    batch_size: int = 128  # of the activations
    student_keep: int | None = None  # patches that the student is trained on; none: all
    chooser: ModelConfig | None = None  # whose attention chooses patches; none: nobody's
    queries: Queries = "cls"  # of that attention
    own_pass: bool = False  # the chooser is run for that alone

    # from 2 on what this package computes is `teacher/computed_gmacs`; from 3 on: student,
    # choice; from 4 on: an epoch
    version: ClassVar[int] = 4
    batched: ClassVar[bool] = True
    labellings: ClassVar[frozenset[Labelling]] = LABELLINGS
    seeded: ClassVar[bool] = False
    evidence: ClassVar[Evidence] = "exact"
    baseline: ClassVar[Baseline | None] = UNMASKED
    figures: ClassVar[tuple[FigureOf, ...]] = (TEACHER_COST, SUPERVISION)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """All there are: which of them a run gives depends on its teacher."""
        return PER_PASS | FROZEN | SELF_TAUGHT | STUDENTS | CHOICE | ACTIVATIONS

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None for rows without a teacher."""
        self_taught = train.method.multicrop is not None
        network = train.student if self_taught else train.teacher
        if network is None:
            return None
        data = open_dataset(train.data)
        channels = train.student.shape.channels if self_taught else data.channels
        teacher = network.cost_config(channels)
        keep = train.method.teacher_keep(teacher.shape.patches)
        student_keep = train.method.student_keep(train.student.shape.patches)
        hides = self_taught or keep < teacher.shape.patches or student_keep is not None
        choice = train.method.patch_choice() if hides else None
        chooser = None if choice is None else train.networks().get(choice.source.network, network)
        return cls(
            student=train.student.cost_config(channels),
            teacher=teacher,
            keep=keep,
            merge=train.method.teacher_merge(),
            classes=0 if self_taught else data.classes,
            train_images=train_images(train.data),
            epochs=train.recipe.epochs,
            student_keep=student_keep,
            chooser=None if chooser is None else chooser.cost_config(channels),
            queries="cls" if choice is None else choice.source.saliency.queries,
            own_pass=choice is not None and choice.own_pass,
        )

    @property
    def self_taught(self) -> bool:
        """Whether the teacher is the student's moving average."""
        return self.classes == 0

    def lacks(self, metric: str) -> str | None:
        """What is told of other teachers only."""
        if metric in FROZEN and self.self_taught:
            ways = " or ".join(f"'{name}'" for name in sorted(SELF_TAUGHT))
            return f"a self-taught teacher sees views, not images: ask for {ways}"
        if metric in SELF_TAUGHT and not self.self_taught:
            return "the teacher is frozen and sees no views: ask for 'teacher/train_pmacs'"
        if metric in STUDENTS and self.self_taught:
            return "the student sees views of many sizes: ask of students with a frozen teacher"
        if metric == "choice/kflops" and self.queries != "cls":
            return f"additions are counted of the class token's attention, not of {self.queries}"
        if metric in ACTIVATIONS and (self.self_taught or self.merge):
            which = "that merge tokens" if self.merge else "that are self-taught"
            return f"activations of teachers {which} are not counted"
        return None

    def execute(self, context: RunContext) -> dict[str, float]:
        """The counts; RunFailed when closed form and counter disagree, which would be a wrong
        number.
        """
        shape = self.teacher.shape
        if self.merge:  # nothing to save in the count; a test holds it against torch's counter
            published = efficient = merged_macs(shape, merge=self.merge, classes=self.classes)
        else:
            published = published_macs(shape, keep=self.keep, classes=self.classes)
            efficient = efficient_macs(shape, keep=self.keep, classes=self.classes)
            self._check(published, efficient)
        over_training = published.total * self.train_images * self.epochs / PETA
        counts = self._choice() | {
            "teacher/gmacs": published.total / GIGA,
            "teacher/computed_gmacs": efficient.total / GIGA,
            **{f"teacher/{part}_gmacs": getattr(published, part) / GIGA for part in PARTS},
        }
        if self.self_taught:
            counts["teacher/one_view_pmacs"] = over_training
            counts["teacher/views_pmacs"] = TAUGHT_VIEWS * over_training
            return counts
        counts["teacher/train_pmacs"] = over_training
        counts["teacher/epoch_tmacs"] = published.total * self.train_images / TERA
        training = self._student_macs()
        counts["student/train_gmacs"] = training / GIGA
        counts["supervision_ratio"] = published.total / training
        return counts if self.merge else counts | self._activations()

    def _student_macs(self) -> int:
        """Of one image, forward and backward."""
        shape = self.student.shape
        keep = shape.patches if self.student_keep is None else self.student_keep
        once = published_macs(shape, keep=keep, classes=self.classes)
        return STEP_PASSES * once.total - once.embedding

    def _choice(self) -> dict[str, float]:
        """What choosing costs."""
        if self.chooser is None:
            return dict.fromkeys(CHOICE, 0.0)
        shape, macs = self.chooser.shape, 0
        if self.own_pass:
            cost = published_macs(shape, keep=shape.patches, classes=0)
            macs = cost.total - cost.head  # nothing reads it
        counts = {"choice/gmacs": macs / GIGA}
        if self.queries != "patches":
            rows = {"special": shape.prefix_tokens, "detections": shape.detection_tokens}.get(
                self.queries, 1
            )
            counts["choice/kflops"] = rows * mean_over_heads(shape) / KILO
        return counts

    def _check(self, published: Macs, efficient: Macs) -> None:
        for closed, is_efficient in ((published, False), (efficient, True)):
            counted = _counted_macs(self.teacher, self.classes, self.keep, efficient=is_efficient)
            if counted != closed.total:
                how = "this package's forward" if is_efficient else "the papers' count"
                raise RunFailed(
                    f"{self.teacher.arch}, {self.keep} patches, {how}: "
                    f"torch counts {counted} multiply-adds, the closed form {closed.total}"
                )

    def _activations(self) -> dict[str, float]:
        all_patches = self.student.shape.patches
        student = _saved_bytes(self.student, self.classes, all_patches, self.batch_size) / MEGA
        teacher = _saved_bytes(self.teacher, self.classes, self.keep, self.batch_size) / MEGA
        return {
            "student/activation_mb": student,
            "teacher/activation_mb": teacher,
            "activation_mb": student + teacher,
        }

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """Nothing."""
        return []

    def macs(self) -> float:
        """Shapes only."""
        return 0.0


@cache  # many rows of a table have one teacher, and share a process
def _counted_macs(config: ModelConfig, classes: int, keep: int, *, efficient: bool) -> int:
    from harness.evaluate.flops import counted_macs
    from harness.models.build import build_bare

    return counted_macs(
        build_bare(config, classes=classes, device="meta"), keep=keep, efficient=efficient
    )


@cache
def _saved_bytes(config: ModelConfig, classes: int, keep: int, batch_size: int) -> int:
    """What a forward pass keeps for a backward one, of tensors without storage: nothing is
    computed.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from harness.evaluate.memory import saved_bytes
    from harness.models.build import build_bare

    shape = config.shape
    model = build_bare(config, classes=classes, device="meta").train()
    with torch.device("meta"):
        images = torch.empty(batch_size, shape.channels, *shape.image_shape)
        kept = torch.arange(keep).expand(batch_size, -1) if keep < shape.patches else None
    with sdpa_kernel(SDPBackend.MATH):
        return saved_bytes(lambda: model(images, keep=kept, efficient=False).logits, model)


def mean_over_heads(shape: Architecture) -> int:
    """Additions that make one score a patch of the class token's attention in H heads, N H
    (arXiv 2302.10494, section 3.2).
    """
    rows, columns = family_of(shape).grid(shape)
    return rows * columns * shape.heads
