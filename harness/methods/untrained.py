"""Rows that train nothing, for evaluations to be held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.errors import RunFailed
from harness.methods import METHODS, Method, Networks, Objective


@METHODS.register("untrained")
@dataclass(frozen=True, kw_only=True, slots=True)
class Untrained(Method):
    """The student as it starts: its random weights, or those that `weights` names."""

    trains: ClassVar[bool] = False

    def build(self, networks: Networks) -> Objective:
        """RunFailed: there is nothing to train."""
        raise RunFailed("the method trains nothing: there is no training run to execute")


@METHODS.register("pixels")
@dataclass(frozen=True, kw_only=True, slots=True)
class Pixels(Untrained):
    """No network at all: evaluations that can, look at the images themselves."""
