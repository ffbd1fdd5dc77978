"""Executes run directories: `python -m harness.launch.worker [--resources JSON] RUN_DIR...`, or
those that come through a socket, `--units DESCRIPTOR` (`worker_process.py`).

The one entry point of all executors. A run that another live process is computing is waited for,
and taken over if that process dies. SIGTERM, SIGINT and SIGUSR2 ask the run to save a checkpoint
and end.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from harness.code import CodeRecord
from harness.device import Device, resolve_device
from harness.errors import HarnessError, Interrupted, RunFailed
from harness.launch.context import (
    WorkerContext,
    end_with_parent,
    keep_freed_memory,
    limit_threads,
    log,
)
from harness.launch.environment import environment
from harness.launch.process_state import ProcessState, begin_run
from harness.launch.worker_group import RankLost, Rendezvous, worker_group
from harness.launch.worker_process import Units
from harness.lazy import torch
from harness.models.available import hub_file, hub_names
from harness.precision import float32_products
from harness.process import install_handler, prepare_process
from harness.run import Resources
from harness.spec.identity import from_dict
from harness.store import (
    DONE,
    FAILED,
    INTERRUPTED,
    RUNNING,
    UNREADABLE,
    Artifact,
    FileError,
    LeaseLost,
    RunRecord,
    RunWriter,
    Store,
    StoreError,
    claim,
    cure,
    damage,
    has_result,
    read_record,
    tidy,
)
from harness.store.files import writing
from harness.store.record import LOG
from harness.store.result import OF_THE_HUB

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 2
EXIT_LOST: Final = 3  # another process took a run over
EXIT_UNREADABLE: Final = 66  # EX_NOINPUT: what is there cannot be read; nothing was changed
EXIT_CANNOT_WRITE: Final = 74  # EX_IOERR
EXIT_INTERRUPTED: Final = 75  # EX_TEMPFAIL: run again
_BUSY: Final = -1

POLL = 0.5
"""Seconds between looks at runs that another process is computing."""

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def main(argv: Sequence[str] | None = None) -> int:
    """Execute the runs of the command line; the exit code says how it went."""
    if argv is None:  # a process of its own
        prepare_process(utf8=True)
    parser = argparse.ArgumentParser(prog="python -m harness.launch.worker")
    parser.add_argument("--resources", default="{}", help="JSON of harness.run.Resources")
    parser.add_argument(
        "--rendezvous", type=Path, metavar="FOLDER", help="where the other processes of a run wait"
    )
    parser.add_argument(
        "--units", type=int, metavar="DESCRIPTOR", help="a socket that runs come by"
    )
    parser.add_argument("directories", nargs="*", type=Path, metavar="RUN_DIR")
    arguments = parser.parse_args(argv)
    resources = Resources(**json.loads(arguments.resources))
    limit_threads(resources.threads)
    keep_freed_memory()
    rendezvous = None
    if arguments.rendezvous is not None:
        end_with_parent()  # the other tasks would not know of this one's end
        rendezvous = Rendezvous(arguments.rendezvous, resources.nodes or 1)
    worker = Worker(resources, rendezvous)
    install_handler(_STOP_SIGNALS, worker.ask_to_stop)
    signal.signal(signal.SIGTERM, worker.ask_to_stop)  # by which executors ask, whatever it was
    if arguments.units is not None:
        return worker.serve(Units(arguments.units, stopping=lambda: worker.stopping))
    return worker.run([directory.resolve() for directory in arguments.directories])


class Worker:
    """One process that executes runs one after the other."""

    def __init__(self, resources: Resources, rendezvous: Rendezvous | None = None) -> None:
        device = (
            resolve_device(resources.device) if resources.device == "auto" else resources.device
        )
        self._resources = dataclasses.replace(resources, device=device)
        self._rendezvous = rendezvous
        self.stopping = False
        self._used = False  # by a run before

    def ask_to_stop(self, *_: object) -> None:
        """Let the run that is being executed save its checkpoint; start no other."""
        self.stopping = True

    def run(self, directories: Sequence[Path]) -> int:
        """Execute all of them; those that others are computing come last. The worst exit code."""
        worst, busy, waiting = EXIT_DONE, 0, deque(directories)
        while waiting:
            if self.stopping:
                return EXIT_INTERRUPTED
            directory = waiting.popleft()
            code = self._try(directory)
            if code in (EXIT_CANNOT_WRITE, EXIT_INTERRUPTED):
                return code
            if code == _BUSY:
                waiting.append(directory)
                busy += 1
                if busy >= len(waiting):
                    busy = 0
                    time.sleep(POLL)
            else:
                busy = 0
                worst = max(worst, code)
        return worst

    def serve(self, units: Units) -> int:
        """Execute what comes, as long as every run finds this process as it would find a new one.

        Ends with what has not gone well, so that no other run is taken down with it.
        """
        state, before = ProcessState(), False
        for directories in units:
            if before and not state.is_as_new():
                return EXIT_DONE  # without a look at them: a new process executes them
            before = True
            code = self.run([directory.resolve() for directory in directories])
            if code != EXIT_DONE or self.stopping or not state.is_as_new():
                return code
            units.ask_for_more()
        return EXIT_DONE

    def _try(self, directory: Path) -> int:
        try:
            return self._one(directory)
        except StoreError as error:
            log(f"error: {error}")
            return EXIT_CANNOT_WRITE
        except FileError as error:
            log(f"error: {error}")
            return EXIT_UNREADABLE

    def _one(self, directory: Path) -> int:
        record = read_record(directory)
        if record is None or record.broken:
            log(f"error: {directory}: " + (record.error or "" if record else "no run directory"))
            return EXIT_UNREADABLE if record and record.state == UNREADABLE else EXIT_FAILED
        if record.state == DONE:
            tidy(directory)
            return EXIT_DONE
        lease = claim(directory, resources=dataclasses.asdict(self._resources))
        if lease is None:
            return _BUSY
        try:
            finished = has_result(directory)  # between the look and the claim
        except FileError as error:
            lease.release(INTERRUPTED, str(error))
            raise
        if finished:
            lease.release(DONE)
            return EXIT_DONE
        with lease, _output_to(directory / LOG):
            writer = RunWriter(lease)
            try:
                return self._execute(record, writer)
            finally:
                writer.close()

    def _execute(self, record: RunRecord, writer: RunWriter) -> int:
        lease = writer.lease
        try:
            self._compute(record, writer)
            lease.release(DONE)
        except Interrupted as stopped:
            _end(writer, INTERRUPTED, f"stopped {stopped}")
            return EXIT_INTERRUPTED
        except RankLost as broken:
            _end(writer, INTERRUPTED, str(broken))
            return EXIT_INTERRUPTED
        except LeaseLost as lost:
            log(str(lost))
            return EXIT_LOST
        except (StoreError, FileError) as error:
            _end(writer, INTERRUPTED, str(error))
            raise
        except HarnessError as error:
            _end(writer, FAILED, str(error))
            return EXIT_FAILED
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            return self._crashed(writer, error)
        return EXIT_DONE

    def _compute(self, record: RunRecord, writer: RunWriter) -> None:
        number = writer.lease.number
        log(f"attempt {number} on {os.uname().nodename}, process {os.getpid()}")
        writer.state(RUNNING)
        if self._used:
            begin_run()
        self._used = True
        limit_threads(self._resources.threads)
        task = from_dict(record.task, record.plain)
        needed = _needed(record)
        code = CodeRecord.of(task)
        resources, device = self._resources.for_run(task), resolve_device(self._resources.device)
        writer.environment(environment(resources))
        with worker_group(
            record.directory,
            resources,
            self._rendezvous,
            stopping=lambda: self.stopping,
            give_up=lambda error: _give_up(writer, error),
        ) as group:
            for line in () if group is None else group.members():
                log(line)
            context = WorkerContext(
                writer,
                resources=resources,
                dependencies={identity: one.directory for identity, one in needed.items()},
                stopping=lambda: self.stopping,
                dist=None if group is None else group.dist,
                rendezvous_store=None if group is None else group.store,
            )
            with _fp32(device):
                metrics = task.execute(context)
        why_not = context.why_not_kept()
        if why_not is not None:
            writer.remove_checkpoint()
            raise RunFailed(why_not)
        writer.environment(environment(resources))  # torch is loaded by now
        writer.finish(
            metrics,
            device=device,
            code=code.joined(CodeRecord.of(task)),
            used=_used(needed) | _published(record.plain),
        )
        log("done: " + ", ".join(f"{name} {value:g}" for name, value in metrics.items()))

    def _crashed(self, writer: RunWriter, error: BaseException) -> int:
        try:
            writer.lease.ensure_held()
        except (LeaseLost, FileError) as lost:  # then files vanish under one's hands
            log(str(lost))
            return EXIT_LOST
        with suppress(OSError):
            traceback.print_exception(error)
        if isinstance(error, OSError) and error.errno in _DISK:
            _end(writer, INTERRUPTED, str(error))
            raise StoreError(f"cannot write {writer.directory}: {error.strerror}") from error
        last = traceback.format_exception_only(error)[-1].strip()
        _end(writer, FAILED, last)
        return EXIT_FAILED


def _fp32(device: Device) -> AbstractContextManager[None]:
    """What no recipe says a precision of, evaluations and timings, is not rounded to TF32."""
    return float32_products("fp32", torch.device(device)) if device == "cuda" else nullcontext()


def _end(writer: RunWriter, state: str, error: str) -> None:
    """Note how an attempt ended, as far as the disk allows."""
    log(f"{state}: {error}")
    with suppress(StoreError, FileError, LeaseLost):
        writer.state(state, error=error)
        writer.lease.release(state, error)


def _give_up(writer: RunWriter, error: HarnessError) -> None:
    """End this process, which waits for others that are gone and cannot be woken."""
    _end(writer, INTERRUPTED if isinstance(error, RankLost) else FAILED, str(error))
    _flush()
    os._exit(EXIT_INTERRUPTED if isinstance(error, RankLost) else EXIT_FAILED)


def _needed(record: RunRecord) -> dict[str, RunRecord]:
    """The runs that this one takes files from, which are what they were when they were written."""
    store = Store.holding(record.directory)
    needed = {}
    for identity in record.depends:
        other = store.record(identity)
        if other is None or other.state != DONE:
            if other is not None and other.state == UNREADABLE:
                raise FileError(other.error or "")
            name = identity[:8] if other is None else f"{other.name} ({other.state})"
            raise HarnessError(f"needs the result of run {name}: run that one first")
        wrong = damage(other, thorough=True)
        if wrong is not None:
            raise HarnessError(f"needs run {other.name}, whose {wrong}; {cure(other)}")
        needed[identity] = other
    return needed


def _used(needed: Mapping[str, RunRecord]) -> dict[str, Mapping[str, Artifact]]:
    return {identity: other.outputs for identity, other in needed.items()}


def _published(config: Mapping[str, Any]) -> dict[str, Mapping[str, Artifact]]:
    """The weights of the model hub, by `hub:NAME`: another upload may come under that name."""
    files = {name: hub_file(name) for name in hub_names(config)}
    return {
        f"{OF_THE_HUB}{name}": {file.name: Artifact.of(file)}
        for name, file in files.items()
        if file
    }


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Append all that this process and its children print to `path`."""
    with writing(path):
        file = path.open("ab")
    kept = [os.dup(number) for number in (1, 2)]
    _flush()
    for number in (1, 2):
        os.dup2(file.fileno(), number)
    file.close()
    try:
        yield
    finally:
        _flush()
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


def _end_process(code: int) -> NoReturn:
    """Without waiting for threads and processes that runs have left behind, perhaps for ever."""
    left = [one for one in threading.enumerate() if not one.daemon]
    if len(left) > 1 or multiprocessing.active_children():
        for process in multiprocessing.active_children():
            process.kill()
        _flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _end_process(main())
