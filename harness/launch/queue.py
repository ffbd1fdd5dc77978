"""Which runs may start and in which order. Knows nothing of processes."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import replace

from harness.plan import TO_RUN, PlannedRun, Reason
from harness.run import TASKS

SMALLEST_BATCH, LARGEST_BATCH = 20, 200
"""Runs of a batched task in one process: fewer are not worth a second process's start."""


class Queue:
    """Runs that others depend on come first, then those with the longest work behind them; those
    that must be alone come when there is nothing else to start, so that no accuracy waits for them.
    """

    def __init__(self, runs: Sequence[PlannedRun]) -> None:
        self.runs = {planned.run.identity: planned for planned in runs}
        self.finished: set[str] = set()
        self.failed: dict[str, str] = {}  # identity -> why
        self.blocked: dict[str, Reason] = {}  # identity -> why
        self.elsewhere: set[str] = set()  # computed by another process, waited for
        self.started: set[str] = set()
        self._dependents: dict[str, list[str]] = {}
        self._missing: dict[str, set[str]] = {}
        self._ready: dict[str, list[tuple[tuple[bool, float], int, str]]] = {
            "exclusive": [],
            "batched": [],
            "single": [],
        }
        self._order = {identity: index for index, identity in enumerate(self.runs)}
        self._sort_in()

    @property
    def over(self) -> bool:
        """Whether nothing is left to start or to wait for."""
        return not (self.started or self.elsewhere or any(self._ready.values()))

    @property
    def wants_alone(self) -> bool:
        """Whether what is to start next must be alone on the machine."""
        return bool(self._ready["exclusive"]) and not self._has_others

    @property
    def open(self) -> list[PlannedRun]:
        """All runs that are not finished, failed or blocked, dependencies first."""
        closed = self.finished | self.failed.keys() | self.blocked.keys()
        return [planned for identity, planned in self.runs.items() if identity not in closed]

    def take(self, *, jobs: int, running: int, machine_is_shared: bool) -> list[PlannedRun]:
        """The runs of the next process, or none while it is better to wait.

        `running` processes were started, of at most `jobs`. `machine_is_shared` says that other
        commands compute on this machine, so that nothing can be timed now.
        """
        if self.wants_alone and not machine_is_shared:
            return self._pop("exclusive", 1) if running == 0 else []
        if running >= jobs or self._busy_alone():
            return []
        if self._ready["batched"]:
            batch = math.ceil(len(self._ready["batched"]) / (jobs - running))
            return self._pop("batched", min(max(batch, SMALLEST_BATCH), LARGEST_BATCH))
        return self._pop("single", 1)

    def kind(self, planned: PlannedRun) -> str:
        """Runs of the same kind may share a process: what is timed shares none with other tasks."""
        return planned.run.task if self._class(planned.run.identity) == "exclusive" else ""

    def finish(self, identity: str) -> None:
        """A run has its result: what depends on it may start."""
        self._leave(identity)
        self.finished.add(identity)
        for other in self._dependents.get(identity, ()):
            self._missing[other].discard(identity)
            self._offer(other)

    def fail(self, identity: str, why: str) -> None:
        """A run has no result: what depends on it is blocked."""
        self._leave(identity)
        self.failed[identity] = why
        self._block_dependents(identity, "failed")

    def block(self, identity: str, why: str) -> None:
        """A run cannot be computed now, and with it what depends on it."""
        self._leave(identity)
        self.blocked[identity] = Reason(why)
        self._block_dependents(identity, "is blocked")

    def wait_for(self, identity: str) -> None:
        """Another process computes this run."""
        self._leave(identity)
        self.elsewhere.add(identity)

    def again(self, identity: str) -> None:
        """Nobody computes this run any more."""
        self._leave(identity)
        self._offer(identity)

    def abandon(self, identity: str) -> None:
        """A run was started and stopped; it stays open."""
        self._leave(identity)

    def _sort_in(self) -> None:
        for identity, planned in self.runs.items():
            if planned.status == "cached":
                self.finished.add(identity)
            elif planned.status == "running":
                self.elsewhere.add(identity)
            elif planned.status == "blocked":
                why = "; ".join(map(str, planned.reasons))  # its own causes come first
                self.blocked[identity] = replace(planned.reasons[0], text=why)
            self._missing[identity] = {
                other
                for other in planned.run.depends
                if other in self.runs and other not in self.finished
            }
            for other in dict.fromkeys(planned.run.depends):
                self._dependents.setdefault(other, []).append(identity)
        self._chain = self._chains()
        for identity, planned in self.runs.items():
            if planned.status in TO_RUN:
                self._offer(identity)

    def _chains(self) -> dict[str, float]:
        """Seconds of a run and of the longest line of runs that wait for it."""
        chains: dict[str, float] = {}
        for identity in reversed(self.runs):
            behind = [chains[other] for other in self._dependents.get(identity, ())]
            chains[identity] = self.runs[identity].seconds + max(behind, default=0.0)
        return chains

    def _offer(self, identity: str) -> None:
        closed = identity in self.blocked or identity in self.failed or identity in self.finished
        if closed or self._missing[identity] or identity in self.elsewhere:
            return
        first = any(other not in self.blocked for other in self._dependents.get(identity, ()))
        rank = (not first, -self._chain[identity])
        entry = (rank, self._order[identity], identity)
        heapq.heappush(self._ready[self._class(identity)], entry)

    def _class(self, identity: str) -> str:
        task = TASKS.get(self.runs[identity].run.task)
        return "exclusive" if task.exclusive else "batched" if task.batched else "single"

    def _pop(self, name: str, count: int) -> list[PlannedRun]:
        heap = self._ready[name]
        taken = [heapq.heappop(heap)[2] for _ in range(min(count, len(heap)))]
        self.started.update(taken)
        return [self.runs[identity] for identity in taken]

    @property
    def _has_others(self) -> bool:
        return bool(self._ready["batched"] or self._ready["single"])

    def _busy_alone(self) -> bool:
        """Whether a run that must be alone is under way, here or in another command."""
        return any(self._class(one) == "exclusive" for one in (*self.started, *self.elsewhere))

    def _leave(self, identity: str) -> None:
        self.started.discard(identity)
        self.elsewhere.discard(identity)

    def _block_dependents(self, identity: str, how: str) -> None:
        for other in self._dependents.get(identity, ()):
            if other not in self.blocked:
                self.blocked[other] = Reason.needs_run(self.runs[identity].run.name, f"which {how}")
                self._block_dependents(other, "is blocked")
