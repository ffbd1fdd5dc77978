"""Runs a plan on this machine: a bounded number of worker processes at a time."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.device import visible_gpus
from harness.estimate import makespan
from harness.launch.latest import LatestValue
from harness.launch.progress import Active, Display, Snapshot, column_of, headline, value_of
from harness.launch.queue import Queue
from harness.launch.reconcile import reconcile
from harness.launch.scheduler import Scheduler
from harness.launch.timing_lock import TimingLock
from harness.launch.worker import EXIT_CANNOT_WRITE, EXIT_INTERRUPTED, EXIT_LOST
from harness.launch.worker_process import WorkerProcess
from harness.plan import Plan, PlannedRun, Reason, load_of
from harness.process import install_handler
from harness.run import Resources
from harness.store import (
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    UNREADABLE,
    FileError,
    RunRecord,
    Store,
    StoreError,
    put_aside,
)
from harness.text import duration

ATTEMPTS = 5
"""In a row that get no further than the one before, until a run counts as failed."""
POLL = 0.1
"""Seconds between looks at the workers."""
LOOK = 1.0
"""Seconds between looks at the progress of runs, here and elsewhere."""
ASK = 15.0
"""Seconds between questions to SLURM, while a run is waited for that has a job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSummary:
    """What became of a plan, by directory name."""

    computed: tuple[str, ...]
    failed: dict[str, str]
    blocked: dict[str, Reason]
    interrupted: tuple[str, ...]  # stopped, with what they had reached kept
    open: int  # neither finished nor failed nor blocked, because of a stop
    stopped: bool
    seconds: float


@dataclass(slots=True)
class _Worker:
    """A process at work: with a unit of runs."""

    process: WorkerProcess
    runs: list[PlannedRun]  # those not finished yet
    attempts: dict[str, int]  # before they were given to it
    record: RunRecord | None = None  # of the first run, as last seen
    metrics: LatestValue | None = None  # of the first run
    latest: str = ""  # value of the first run, for people


class LocalExecutor:
    """One `harness run` on this machine. If it is killed, its workers finish their runs."""

    def __init__(self, plan: Plan, store: Store, *, resources: Resources) -> None:
        self.plan = plan
        self._store = store
        wanted = plan.device if resources.device == "auto" else resources.device
        self._resources = dataclasses.replace(resources, device=wanted)
        self._display = Display()
        self._queue = Queue(plan.runs)
        self._timing_lock: TimingLock  # while `run` goes on
        # other commands compute on this machine too: nothing can be timed now
        self._machine_is_shared = False
        self._waiting = ""  # for what the machine is needed meanwhile
        self._workers: list[_Worker] = []
        self._free: list[WorkerProcess] = []  # would take another unit
        self._leaving: list[WorkerProcess] = []  # have no unit, and end
        self._computed: list[str] = []
        self._interrupted: list[str] = []
        self._records_elsewhere: dict[str, RunRecord] = {}  # of runs that others compute
        # by task: seconds taken, and the estimate of them
        self._seconds_by_task: dict[str, tuple[float, float]] = {}
        # by identity: the best step of all attempts, and how many got no further since
        self._attempts_without_progress: dict[str, tuple[int, int]] = {}
        self._stops = 0
        self._cannot_write: str | None = None
        self._started = 0.0
        self._last_poll = 0.0
        self._scheduler, self._slurm_asked = Scheduler(), time.monotonic()

    def run(self) -> RunSummary:
        """Compute everything that can be. StoreError if the results folder cannot be written."""
        self._started = time.monotonic()
        self._timing_lock = TimingLock()
        with self._signals():
            try:
                self._loop()
            finally:
                self._display.close()
                self._release_free()
                for process in self._leaving:
                    process.close()
                self._timing_lock.close()
        if self._cannot_write is not None:
            raise StoreError(self._cannot_write)
        names = {identity: planned.run.name for identity, planned in self._queue.runs.items()}
        return RunSummary(
            computed=tuple(self._computed),
            failed={names[identity]: why for identity, why in self._queue.failed.items()},
            blocked={names[identity]: why for identity, why in self._queue.blocked.items()},
            interrupted=tuple(self._interrupted),
            open=len(self._queue.open),
            stopped=self._stops > 0,
            seconds=time.monotonic() - self._started,
        )

    def stop(self, *_: object) -> None:
        """Ask the workers to save and end; asked again, end them at once."""
        self._stops += 1
        for worker in self._workers:
            worker.process.send_signal(signal.SIGTERM if self._stops == 1 else signal.SIGKILL)

    @property
    def _ending(self) -> bool:
        return self._stops > 0 or self._cannot_write is not None

    def _loop(self) -> None:
        stop_announced = False
        while self._workers or not (self._ending or self._queue.over):
            self._reap()
            if time.monotonic() - self._last_poll >= LOOK:
                self._poll()
            if self._stops and not stop_announced:
                stop_announced = True
                self._display.say("stopping: runs save their checkpoints (again: kill them)")
            if not self._ending:
                self._start()
            self._release_free()
            if self._display.due():
                self._display.update(self._snapshot())
            time.sleep(POLL)

    def _start(self) -> None:
        while not self._ending:
            chosen = self._take()
            if not chosen:
                return
            try:
                self._start_worker(chosen)
            except StoreError as error:
                self._give_up(str(error))

    def _take(self) -> list[PlannedRun]:
        self._waiting = ""
        if not self._workers:
            self._timing_lock.release()  # so that two commands do not wait for each other
            wanted = self._queue.wants_alone and not self._other_commands_running()
            alone = wanted and self._timing_lock.acquire_exclusive()
            if not alone and not self._timing_lock.acquire_shared():
                self._waiting = "waiting for a timing of"
                return []  # which is soon over
            self._machine_is_shared = self._queue.wants_alone and not alone
            if self._machine_is_shared:
                self._waiting = "the next run times something and waits for"
        chosen = self._queue.take(
            jobs=self.plan.jobs,
            running=len(self._workers),
            machine_is_shared=self._machine_is_shared,
        )
        if not chosen and not self._workers:
            self._timing_lock.release()
        return chosen

    def _start_worker(self, chosen: Sequence[PlannedRun]) -> None:
        runs, directories, attempts = [], [], {}
        for planned in chosen:
            try:
                if planned.again and planned.record is not None:
                    put_aside(planned.record)
                directory = self._store.create(planned.run)
                record = self._store.record(planned.run.identity)
            except FileError as error:
                self._unreadable(planned, str(error))
                continue
            if record is not None and record.state in (DONE, RUNNING, QUEUED):
                self._settle(planned, record)  # somebody was faster
                continue
            if record is not None and record.state == UNREADABLE:
                self._unreadable(planned, record.error or "")
                continue
            runs.append(planned)
            directories.append(directory)
            attempts[planned.run.identity] = 0 if record is None else record.attempt
        if runs:
            self._spawn(runs, directories, attempts)

    def _spawn(
        self, runs: list[PlannedRun], directories: Sequence[Path], attempts: dict[str, int]
    ) -> None:
        kind = self._queue.kind(runs[0])
        process = self._free_process(kind)
        if process is not None and not process.give(directories):  # it was killed meanwhile
            self._let_go(process)
            process = None
        if process is None:
            slot = next(i for i in range(len(self._workers) + 1) if i not in self._slots())
            process = WorkerProcess(
                json.dumps(dataclasses.asdict(self._resources)),
                kind=kind,
                slot=slot,
                environment=self._environment(slot),
            )
            process.give(directories)
        self._workers.append(_Worker(process=process, runs=runs, attempts=attempts))
        if self._stops:  # asked to while the process was being started
            process.send_signal(signal.SIGTERM)

    def _free_process(self, kind: str) -> WorkerProcess | None:
        """One that has computed runs of this kind and takes another; those of others end."""
        found = next((process for process in self._free if process.kind == kind), None)
        if found is None:
            self._release_free()
        else:
            self._free.remove(found)
        return found

    def _release_free(self) -> None:
        while self._free:
            self._let_go(self._free.pop())

    def _let_go(self, process: WorkerProcess) -> None:
        """It gets no other unit."""
        process.release()
        self._leaving.append(process)

    def _slots(self) -> set[int]:
        return {process.slot for process in self._free} | {
            worker.process.slot for worker in self._workers
        }

    def _environment(self, slot: int) -> dict[str, str]:
        environment = dict(os.environ)
        gpus = visible_gpus()
        if self.plan.device == "cuda" and self._resources.device == "cuda" and gpus:
            size = self._resources.processes
            first = slot * size % max(size, len(gpus) // size * size)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[first : first + size])
        return environment

    def _reap(self) -> None:
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._workers.remove(worker)
            self._close(worker)
            if worker.process.is_free and self._resources.processes == 1:
                self._free.append(worker.process)
            else:
                self._let_go(worker.process)
        for process in [process for process in self._leaving if process.has_ended()]:
            self._leaving.remove(process)
            process.close()

    def _close(self, worker: _Worker) -> None:
        """Note how a unit has ended, and with it, if it has not gone well, its process."""
        output, code = worker.process.output(), worker.process.exit_code
        if code == EXIT_CANNOT_WRITE:
            self._give_up(output.rpartition("error: ")[2] or "the results folder cannot be written")
        left = [planned for planned in worker.runs if not self._ended(planned, worker)]
        records = [self._store.record(planned.run.identity) for planned in left]
        begun = [
            record is not None and record.attempt > worker.attempts[planned.run.identity]
            for planned, record in zip(left, records, strict=True)
        ]
        for planned, record, started in zip(left, records, begun, strict=True):
            if record is not None and record.state in (RUNNING, QUEUED):
                self._queue.wait_for(planned.run.identity)  # taken over by another process
            elif record is not None and record.state == UNREADABLE:
                self._unreadable(planned, record.error or "")
            elif self._ending:
                self._queue.abandon(planned.run.identity)
                self._interrupted += [planned.run.name] * started
            elif code in (EXIT_INTERRUPTED, EXIT_LOST) and self._may_try_again(planned, record):
                self._queue.again(planned.run.identity)
            elif started or not (
                any(begun) or len(left) < len(worker.attempts) or worker.process.units > 1
            ):
                self._fail(planned, _why(code, output, record if started else None))
            else:  # the worker ended before it came to this run
                self._queue.again(planned.run.identity)

    def _may_try_again(self, planned: PlannedRun, record: RunRecord | None) -> bool:
        """Whether a run whose process asks for another attempt gets one: not for ever where none
        gets further.
        """
        identity = planned.run.identity
        done = 0 if record is None or record.progress is None else record.progress.done
        best_step, fruitless = self._attempts_without_progress.get(identity, (0, 0))
        fruitless = 0 if done > best_step else fruitless + 1
        self._attempts_without_progress[identity] = (max(done, best_step), fruitless)
        if fruitless >= ATTEMPTS:
            return False
        why = record.error if record is not None and record.error else "its process was stopped"
        self._display.say(f"again   {planned.run.name}: {why}")
        return True

    def _ended(self, planned: PlannedRun, worker: _Worker) -> bool:
        record = self._store.record(planned.run.identity)
        if record is None:
            return False
        fresh = record.attempt > worker.attempts[planned.run.identity]
        if record.state == DONE or (record.state == FAILED and fresh):
            self._settle(planned, record)
            return True
        return False

    def _settle(self, planned: PlannedRun, record: RunRecord) -> None:
        """Note what the run directory says about a run."""
        identity = planned.run.identity
        if record.state == DONE:
            self._queue.finish(identity)
            self._done(planned, record)
        elif record.state in (RUNNING, QUEUED):
            self._queue.wait_for(identity)
        elif record.state == FAILED:
            self._fail(planned, record.error or "failed without a message")
        elif record.state == UNREADABLE:
            self._unreadable(planned, record.error or "")
        else:
            self._queue.again(identity)

    def _done(self, planned: PlannedRun, record: RunRecord) -> None:
        self._computed.append(record.name)
        taken, estimated = self._seconds_by_task.get(planned.run.task, (0.0, 0.0))
        self._seconds_by_task[planned.run.task] = (
            taken + (record.seconds or 0.0),
            estimated + planned.seconds,
        )
        value = headline(self.plan.expansion, planned.run, record.result or {})
        count = f"{len(self._queue.finished)}/{len(self._queue.runs)}"
        time_taken = duration(record.seconds or 0.0)
        self._display.say(f"done    {record.name}  {value}  ({time_taken}, {count})")

    def _fail(self, planned: PlannedRun, why: str) -> None:
        self._queue.fail(planned.run.identity, why)
        self._display.warn(f"failed  {planned.run.name}: {why}")

    def _unreadable(self, planned: PlannedRun, why: str) -> None:
        """Leave a run alone of which nobody can see now whether it is finished."""
        self._queue.block(planned.run.identity, why)
        self._display.warn(f"blocked {planned.run.name}: {why}")

    def _give_up(self, message: str) -> None:
        """Nothing can be written: go on with nothing, let what runs come to an end."""
        if self._cannot_write is None:
            self._cannot_write = message.strip()
            for worker in self._workers:
                worker.process.send_signal(signal.SIGTERM)

    def _poll(self) -> None:
        """See how far runs are, here and elsewhere."""
        self._last_poll = time.monotonic()
        self._ask_slurm()
        for worker in self._workers:
            while worker.runs and len(worker.attempts) > 1 and self._ended(worker.runs[0], worker):
                worker.runs.pop(0)
            if worker.runs:
                worker.record = self._store.record(worker.runs[0].run.identity)
                self._look_at_latest(worker)
        for identity in list(self._queue.elsewhere):
            record = self._store.record(identity)
            if record is None:
                self._queue.again(identity)
                continue
            self._records_elsewhere[identity] = record
            if record.state not in (RUNNING, QUEUED):
                self._settle(self._queue.runs[identity], record)

    def _look_at_latest(self, worker: _Worker) -> None:
        """What the run has come to so far: an accuracy shows long before the run is done."""
        run, record = worker.runs[0].run, worker.record
        column = column_of(self.plan.expansion, run)
        if record is None or column is None:
            return
        if worker.metrics is None or worker.metrics.directory != record.directory:
            worker.metrics = LatestValue(record.directory, column.metric)
        value = worker.metrics.look()
        worker.latest = "" if value is None else value_of(column, value)

    def _ask_slurm(self) -> None:
        """Whether the jobs that runs are waited for still exist, now and then."""
        records = [self._records_elsewhere.get(identity) for identity in self._queue.elsewhere]
        queued = any(record is not None and record.state == QUEUED for record in records)
        if queued and time.monotonic() - self._slurm_asked >= ASK:
            reconcile(self._store, self._scheduler)
            self._slurm_asked = time.monotonic()

    def _other_commands_running(self) -> bool:
        """Whether another command computes on this machine."""
        here = socket.gethostname()
        records = [self._records_elsewhere.get(identity) for identity in self._queue.elsewhere]
        return any(record is None or record.host in ("", here) for record in records)

    def _snapshot(self) -> Snapshot:
        running = {
            worker.runs[0].run.identity: (worker.record, False)
            for worker in self._workers
            if worker.runs
        }
        running.update(
            {
                identity: (self._records_elsewhere.get(identity), True)
                for identity in self._queue.elsewhere
            }
        )
        latest = {
            worker.runs[0].run.identity: worker.latest for worker in self._workers if worker.runs
        }
        active = [
            Active(
                name=self._queue.runs[identity].run.name,
                progress=None if record is None else record.progress,
                eta=None if record is None else record.eta,
                latest=latest.get(identity, ""),
                elsewhere=elsewhere,
            )
            for identity, (record, elsewhere) in running.items()
        ]
        loads = [
            dataclasses.replace(load_of(planned), seconds=self._left(planned, running))
            for planned in self._queue.open
        ]
        return Snapshot(
            total=len(self._queue.runs),
            done=len(self._queue.finished),
            failed=len(self._queue.failed),
            blocked=len(self._queue.blocked),
            active=active,
            left=makespan(loads, self.plan.jobs),
            waiting=self._waits_for(),
        )

    def _waits_for(self) -> str:
        """Why nothing is started: the commands that the machine is needed for meanwhile."""
        if not self._waiting:
            return ""
        holders = self._timing_lock.holders()
        return f"{self._waiting} {'; '.join(map(str, holders)) or 'another harness command'}"

    def _left(
        self, planned: PlannedRun, running: dict[str, tuple[RunRecord | None, bool]]
    ) -> float:
        record, _ = running.get(planned.run.identity, (None, False))
        if record is not None and record.eta is not None:
            return record.eta
        taken, estimated = self._seconds_by_task.get(planned.run.task, (1.0, 1.0))
        return planned.seconds * (taken / estimated if estimated > 0 and taken > 0 else 1.0)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = install_handler((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self.stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _why(code: int, output: str, record: RunRecord | None) -> str:
    """Why a worker ended without a result, and what to do."""
    log = "" if record is None else f"; see {record.directory / 'log.txt'}"
    if code == -signal.SIGKILL:
        how = "its process was killed (SIGKILL; the machine may be out of memory)"
    elif code < 0:
        how = f"its process ended by {signal.Signals(-code).name}"
    elif record is not None and record.error and code != 0:
        how = record.error
    else:
        last = output.splitlines()[-1] if output else "no message"
        how = f"its process ended with exit code {code}: {last}"
    return f"{how}{log}; run again to go on from the last checkpoint"
