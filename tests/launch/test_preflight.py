"""What is said when runs cannot be computed by as many processes as were asked for."""

from __future__ import annotations

import inspect
import os

import pytest
import submitit
from submitit.slurm import slurm

from harness import device
from harness.device import DRIVERS, no_gpu
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from harness.tasks.train import TrainRun
from tests.conftest import TINY_VIT, Experiments
from tests.launch.processes import harness

TABLE = f"""
paper: {{title: Together}}
columns:
  acc: {{label: Top-1, from: train, metric: val/top1, unit: "%", decimals: 1}}
  flops: {{label: FLOPs, from: cost, metric: teacher/train_pmacs, decimals: 1}}
seeds: [0]
base:
  data: {{name: fashion-mnist, train_fraction: 0.005}}
  student: {{{TINY_VIT}}}
  method: supervised
  recipe: {{epochs: 1, batch_size: 50, lr: 1e-3}}
rows:
  - {{id: alone, label: Alone}}
  - id: compared
    label: Compared
    set:
      teacher: {{{TINY_VIT}, weights: {{run: "#alone"}}}}
      method: {{name: distillation, loss: manifold}}
  - id: groups
    label: Groups
    set:
      teacher: {{{TINY_VIT}, weights: {{run: "#alone"}}}}
      method: {{name: distillation, loss: {{name: manifold, group: 10}}}}
      recipe: {{epochs: 1, batch_size: 60, lr: 1e-3}}
profiles:
  paper: {{resources: {{device: cpu, processes: 2, nodes: 2}}}}
"""


@pytest.fixture
def table(experiments: Experiments) -> str:
    return experiments.table("tests/together", TABLE)


def said(*words: str, **variables: str) -> str:
    """The one error of a command that does nothing."""
    done = harness("run", *words, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    # on a machine of few cores, so many processes are told too
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    return line


def test_a_loss_that_compares_images_is_refused_before_anything_starts(table: str) -> None:
    assert said(table, "--processes", "2") == (
        "error: `processes` is 2, and 1 row cannot be computed by so many: its loss compares all "
        "images of a batch with each other (compared). Run these with --rows compared "
        "--processes 1, and name the others with --rows for more"
    )


def test_processes_that_cannot_have_whole_groups_are_refused(table: str) -> None:
    assert said(table, "--rows", "groups", "--processes", "4", "--nodes", "2") == (
        "error: `processes` is 4, and 1 row cannot be computed by so many: its loss compares "
        "images with each other within 6 groups of a batch (groups). Run these with "
        "--rows groups --processes 3, and name the others with --rows for more"
    )


def test_micro_batches_without_whole_groups_are_refused(table: str) -> None:
    assert said(table, "--rows", "groups", "--micro-batch", "2").startswith(
        "error: row groups: micro_batch is 2: this loss compares "
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["--processes", "3"],
            "--pipeline needs an even number of `processes`, a teacher's for each student's; got 3",
        ),
        (
            ["--micro-batch", "8"],
            "--pipeline already cuts a step into 61 micro-batches: leave `micro_batch` out",
        ),
        (
            [],
            "row groups: `pipeline` is 61, and a step has 6 groups of images that its loss "
            "compares: give at most 6",
        ),
        (
            ["--rows", "alone", "--processes", "4", "--device", "cuda"],
            "`processes` is 4, each with a GPU of its own, and this machine shows 1: give "
            "--processes 1, make more visible (CUDA_VISIBLE_DEVICES), or run with --device cpu",
        ),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused(table: str, words: list[str], error: str) -> None:
    given = ["--rows", "groups", "--pipeline", "61", "--nodes", "1", *words]
    assert said(table, *given, CUDA_VISIBLE_DEVICES="0") == f"error: {error}"


def test_the_paper_profile_of_table_2_can_be_computed_by_eight() -> None:
    for resolved in expand(load_table("maskedkd/table2"), "paper").rows:
        run = TrainRun.of(resolved.config)
        assert run is not None
        assert [run.why_not_divisible(size) for size in (1, 2, 4, 8)] == [None] * 4
        assert (run.why_not_divisible(3) is None) == ("manifold" not in resolved.row.id)
        assert run.max_processes() == (8 if "manifold" in resolved.row.id else 512)


def test_more_processes_than_gpus_are_refused(table: str) -> None:
    words = [table, "--rows", "alone", "--processes", "4", "--device", "cuda"]
    assert said(*words, CUDA_VISIBLE_DEVICES="0,1") == (
        "error: `processes` is 4, each with a GPU of its own, and this machine shows 2: give "
        "--processes 2, make more visible (CUDA_VISIBLE_DEVICES), or run with --device cpu"
    )


@pytest.mark.skipif(any(map(os.path.exists, DRIVERS)), reason="there is a GPU")
def test_without_a_gpu_nothing_is_started_on_one(table: str) -> None:
    words = [table, "--rows", "alone", "--processes", "1", "--device", "cuda"]
    why = (
        "`device` is cuda, and this machine shows no GPU: make more visible "
        "(CUDA_VISIBLE_DEVICES), or run with --device cpu"
    )
    planned = harness("plan", *words)
    assert (planned.returncode, planned.stderr) == (0, f"note: {why}\n")
    assert said(*words) == f"error: {why}"
    assert Store().records() == []


@pytest.mark.parametrize(
    ("wanted", "visible", "why"),
    [
        ("cuda:7", "0,1", "this machine shows 2 GPUs, from cuda:0 on"),
        ("cuda:1", "0,1", None),
        ("cuda", "", "this machine shows no GPU"),
        ("cuda", None, None),  # the driver numbers none in /dev
        ("cpu", "", None),
    ],
)
def test_a_gpu_that_is_not_there(
    wanted: str, visible: str | None, why: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "DRIVERS", ("/dev/null",))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert no_gpu(wanted) == why


def test_nodes_that_do_not_divide_the_processes_are_refused(table: str) -> None:
    words = [table, "--processes", "3", "--nodes", "2"]
    assert said(*words) == (
        "error: --nodes must divide the number of processes, 3: each node has as many; got 2"
    )


def test_other_processes_than_the_profiles_need_not_suit_its_nodes(table: str) -> None:
    done = harness("plan", table, "--processes", "1")
    assert done.returncode == 0, done.stderr


def test_submitit_has_the_private_function_that_dry_runs_print_with() -> None:
    """There is no public way to the script; if this fails, look at `SlurmExecutor._script`."""
    function = getattr(slurm, "_make_sbatch_string", None)
    assert function is not None, f"gone from submitit {submitit.__version__}"
    taken = {"command", "folder", "map_count", "additional_parameters", "srun_args", "setup"}
    assert taken <= inspect.signature(function).parameters.keys()
