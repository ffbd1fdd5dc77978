"""MaskedKD in DINO: the teacher sees what its student attends to (arXiv 2302.10494, Table 4)."""

from harness.methods.dino_masked_teacher.config import DinoMaskedTeacher

__all__ = ["DinoMaskedTeacher"]
