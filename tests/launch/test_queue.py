"""Which runs start when: a pure function of the plan and of what has ended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.estimate import Load, makespan
from harness.launch.queue import LARGEST_BATCH, Queue
from harness.plan import PlannedRun, Reason, Status
from tests.launch.counting import AloneRun, BatchedRun, Counting, CountingRun
from tests.launch.processes import run_of


def planned(
    seed: int,
    *,
    kind: type[Counting] = CountingRun,
    needs: tuple[PlannedRun, ...] = (),
    seconds: float = 1.0,
    status: Status = "todo",
) -> PlannedRun:
    """A run of a plan."""
    depends = tuple(other.run.identity for other in needs)
    run = run_of(kind(seed=seed), row=f"r{seed}", depends=depends)
    return PlannedRun(run=run, status=status, seconds=seconds)


def take(queue: Queue, *, jobs: int = 2, running: int = 0, near: bool = False) -> list[int]:
    """The seeds of the runs that the next process would compute."""
    chosen = queue.take(jobs=jobs, running=running, machine_is_shared=near)
    return [one.run.title.seed or 0 for one in chosen]


def test_the_longest_comes_first() -> None:
    queue = Queue([planned(1, seconds=2), planned(2, seconds=9), planned(3, seconds=5)])
    assert [take(queue), take(queue), take(queue), take(queue)] == [[2], [3], [1], []]


def test_a_teacher_comes_before_longer_runs_and_its_students_after_it() -> None:
    teacher = planned(1, seconds=2)
    queue = Queue([teacher, planned(2, needs=(teacher,), seconds=5), planned(3, seconds=50)])
    assert [take(queue), take(queue), take(queue)] == [[1], [3], []]
    queue.finish(teacher.run.identity)
    assert take(queue) == [2]


def test_no_more_processes_than_jobs() -> None:
    queue = Queue([planned(1), planned(2)])
    assert take(queue, jobs=2, running=2) == []


def test_batched_runs_are_shared_out_over_the_free_processes() -> None:
    runs = [planned(seed, kind=BatchedRun) for seed in range(61)]
    assert len(take(Queue(runs), jobs=2)) == 31
    assert len(take(Queue(runs), jobs=2, running=1)) == 61
    assert len(take(Queue(runs[:7]), jobs=2)) == 7
    many = [planned(seed, kind=BatchedRun) for seed in range(3 * LARGEST_BATCH)]
    assert len(take(Queue(many), jobs=2)) == LARGEST_BATCH


def test_an_exclusive_run_comes_last_waits_for_an_empty_machine_and_keeps_it_empty() -> None:
    alone, batched = planned(1, kind=AloneRun), planned(3, kind=BatchedRun)
    queue = Queue([alone, planned(2), batched])
    assert take(queue) == [3]
    assert take(queue, running=1) == [2]
    assert take(queue, running=1) == []
    assert take(queue) == [1]
    queue.again(batched.run.identity)  # comes up meanwhile
    assert take(queue, running=1) == []
    queue.finish(alone.run.identity)
    assert take(queue) == [3]


def test_nothing_is_timed_while_others_compute_here_but_the_rest_goes_on() -> None:
    queue = Queue([planned(1, kind=AloneRun), planned(2)])
    assert take(queue, near=True) == [2]
    assert take(queue, near=True) == []
    assert take(queue, near=False) == [1]


def test_what_is_timed_shares_a_process_with_its_own_task_alone() -> None:
    runs = [planned(1), planned(2, kind=BatchedRun), planned(3, kind=AloneRun)]
    assert [Queue(runs).kind(one) for one in runs] == ["", "", "counting-alone"]


def test_nothing_starts_while_another_command_times_something() -> None:
    queue = Queue([planned(1, kind=AloneRun, status="running"), planned(2)])
    assert take(queue, near=True) == []


def test_a_failure_blocks_all_that_depends_on_it_and_nothing_else() -> None:
    teacher = planned(1)
    student = planned(2, needs=(teacher,))
    pupil = planned(3, needs=(student,))
    queue = Queue([teacher, student, pupil, planned(4)])
    assert take(queue) == [1]
    queue.fail(teacher.run.identity, "the loss is nan")
    assert queue.blocked == {
        student.run.identity: Reason.needs_run(teacher.run.name, "which failed"),
        pupil.run.identity: Reason.needs_run(student.run.name, "which is blocked"),
    }
    assert [take(queue), take(queue)] == [[4], []]


def test_a_run_elsewhere_is_waited_for_and_taken_when_it_dies() -> None:
    teacher = planned(1, status="running")
    queue = Queue([teacher, planned(2, needs=(teacher,))])
    assert (take(queue), queue.over) == ([], False)
    queue.again(teacher.run.identity)
    assert take(queue) == [1]
    queue.finish(teacher.run.identity)
    assert take(queue) == [2]


KINDS = st.sampled_from([CountingRun, BatchedRun, AloneRun])


@given(data=st.data(), size=st.integers(1, 12), jobs=st.integers(1, 4))
def test_every_run_is_taken_once_after_what_it_needs(
    data: st.DataObject, size: int, jobs: int
) -> None:
    runs: list[PlannedRun] = []
    for seed in range(size):
        chosen = data.draw(st.lists(st.sampled_from(runs), max_size=2)) if runs else []
        runs.append(planned(seed, kind=data.draw(KINDS), needs=tuple(chosen)))
    queue, active, done = Queue(runs), [], set()
    while not queue.over:
        while chosen := queue.take(jobs=jobs, running=len(active), machine_is_shared=False):
            assert all(set(one.run.depends) <= done for one in chosen)
            active.append(chosen)
        assert 0 < len(active) <= jobs
        alone = [unit for unit in active if unit[0].run.task == "counting-alone"]
        assert not alone or len(active) == 1
        for one in active.pop(data.draw(st.integers(0, len(active) - 1))):
            assert one.run.identity not in done
            done.add(one.run.identity)
            queue.finish(one.run.identity)
    assert done == {one.run.identity for one in runs}


def load(name: str, seconds: float, *depends: str, alone: bool = False) -> Load:
    """A run for the schedule."""
    return Load(identity=name, seconds=seconds, depends=depends, exclusive=alone)


def test_the_time_of_a_schedule() -> None:
    assert makespan([], 2) == 0
    assert makespan([load("a", 4), load("b", 6)], 1) == 10
    assert makespan([load("a", 4), load("b", 6)], 2) == 6
    assert makespan([load("a", 4), load("b", 6, "a"), load("c", 1)], 4) == 10
    assert makespan([load("a", 5, alone=True), load("b", 6), load("c", 6)], 2) == 11
    assert makespan([load("a", 5, alone=True), load("b", 6), load("c", 6, "a")], 2) == 17
