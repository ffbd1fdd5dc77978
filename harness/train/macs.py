"""What a training computes, in closed form."""

from __future__ import annotations

from harness.data import open_dataset
from harness.models.cost import efficient_macs
from harness.train.config import TrainConfig


def image_macs(train: TrainConfig) -> float:
    """Multiply-adds of one image in one step.

    Three forward passes of the student (one forward, two backward; one where only its head is
    trained), one of the masked teacher and one of the saliency model; or what the method says of
    itself.
    """
    of_method = train.method.image_macs(train.student.shape)
    if of_method is not None:
        return of_method
    classes = open_dataset(train.data).classes
    student = train.student.shape
    passes = 3 if train.student.trained == "all" else 1
    each = passes * efficient_macs(student, keep=student.patches, classes=classes).total
    if train.saliency_model is not None:
        saliency_model = train.saliency_model.shape
        each += efficient_macs(saliency_model, keep=saliency_model.patches, classes=classes).total
    if train.teacher is not None:
        teacher = train.teacher.shape
        each += efficient_macs(
            teacher, keep=train.method.teacher_keep(teacher.patches), classes=classes
        ).total
    return each
