"""The description of a cluster, and what runs ask of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.device import Device
from harness.errors import HarnessError, SpecError
from harness.launch.cluster import Cluster, Node, Shape, find_cluster, load_cluster, shape_of
from harness.launch.scheduler import JobInfo
from harness.run import Resources

DOCS = Path(__file__).parents[2] / "docs/cluster.md"
GPUS = Cluster(node=Node(cpus=64, gpus=8, memory_gb=500))


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_the_description_of_the_docs_is_one(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert text is not None
    cluster = load_cluster(written(tmp_path, text[1]))
    assert cluster.node == Node(cpus=64, gpus=8, memory_gb=500)
    assert cluster.environment == {"HARNESS_DATA": "/shared/data"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node: {cpus: 4}\npartitoin: main\n", ":2:1: unknown key 'partitoin'"),
        ("node: {cpus: four}\n", ":1:14: "),
        ("node: {cpus: 0}\n", "must be at least 1, got 0"),
        ("partition: main\n", "node"),
        (
            "node: {cpus: 4}\nminutes: 1\nsignal_seconds: 60\n",
            ":3:17: signal_seconds: must be below the time",
        ),
        ("- 1\n", ":1:1: a cluster description must be a mapping"),
        ("", ":1:1: is empty"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as error:
        load_cluster(path)
    assert said in str(error.value)
    assert "cluster.yaml:" in str(error.value)


def test_the_file_is_the_one_of_the_command_line_the_environment_or_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HARNESS_CLUSTER", raising=False)
    with pytest.raises(HarnessError, match="give --cluster FILE"):
        find_cluster(None)
    user = tmp_path / ".config/harness/cluster.yaml"
    user.parent.mkdir(parents=True)
    user.write_text("")
    assert find_cluster(None) == user
    monkeypatch.setenv("HARNESS_CLUSTER", str(tmp_path / "other"))
    with pytest.raises(HarnessError, match=r"other \(from \$HARNESS_CLUSTER\)"):
        find_cluster(None)
    assert find_cluster(str(user)) == user


def test_a_run_gets_its_share_of_a_node() -> None:
    shape = shape_of(Resources(threads=2, workers=4), GPUS, device="cuda")
    one = Shape(nodes=1, tasks=1, cpus=8, gpus=1, memory_mb=64000, minutes=240, exclusive=False)
    assert shape == one
    shape = shape_of(Resources(threads=8, hours=1), GPUS, device="cpu")
    assert shape == replace(one, gpus=0, minutes=60)


@pytest.mark.parametrize(
    ("resources", "cluster", "said"),
    [
        (Resources(threads=60, workers=5), GPUS, "asks for 65 CPUs"),
        (Resources(processes=11), GPUS, "over 2 nodes, which have room for 8 each: ask for 10 or"),
        (Resources(processes=16, nodes=1), GPUS, "are 16 a node, .* has room for 8 with 1 CPUs"),
        (Resources(processes=8, nodes=1, threads=9), GPUS, "has room for 7 with 9 CPUs each"),
        (Resources(memory_gb=501), GPUS, "asks for 501 GB of memory"),
        (Resources(), Cluster(node=Node(cpus=4)), "asks for a GPU"),
    ],
)
def test_what_no_node_gives_is_an_error(resources: Resources, cluster: Cluster, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        shape_of(resources, cluster, device="cuda", most=99)


@pytest.mark.parametrize(
    ("resources", "device", "most", "nodes", "tasks", "cpus", "gpus"),
    [
        (Resources(processes=8), "cuda", 99, 1, 8, 8, 8),
        (Resources(processes=16), "cuda", 99, 2, 8, 8, 8),
        (Resources(processes=12), "cuda", 99, 2, 6, 8, 6),
        (Resources(processes=4, nodes=2), "cuda", 99, 2, 2, 8, 2),
        (Resources(processes=4, threads=40), "cpu", 99, 4, 1, 40, 0),
        (Resources(processes=4, threads=10, workers=5), "cpu", 99, 1, 4, 15, 0),
        (Resources(processes=16, nodes=2), "cuda", 1, 1, 1, 8, 1),  # what one process computes
        (Resources(processes=16, nodes=2), "cuda", 5, 2, 2, 8, 2),  # a batch of ten images
    ],
)
def test_processes_are_spread_over_nodes(
    resources: Resources, device: Device, most: int, nodes: int, tasks: int, cpus: int, gpus: int
) -> None:
    shape = shape_of(resources, GPUS, device=device, most=most)
    assert (shape.nodes, shape.tasks, shape.cpus, shape.gpus) == (nodes, tasks, cpus, gpus)
    share = max(gpus / 8, tasks * cpus / 64)
    assert shape.memory_mb == int(500 * share * 1024)


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        ("PENDING", "alive"),
        ("COMPLETING", "alive"),
        ("REQUEUE_HOLD", "alive"),
        ("A_STATE_OF_NEXT_YEAR", "alive"),
        ("", "alive"),
        ("TIMEOUT", "ended"),
        ("OUT_OF_MEMORY", "failed"),
    ],
)
def test_a_job_in_a_state_that_nobody_knows_is_alive(state: str, standing: str) -> None:
    assert JobInfo(job="1", state=state).standing == standing
