"""The description of a cluster, and what runs ask of it."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.device import Device
from harness.errors import HarnessError, SpecError
from harness.launch.cluster import (
    Cluster,
    ClusterPart,
    ComputeNode,
    JobResources,
    as_in_jobs,
    find_cluster,
    job_resources,
    load_cluster,
    with_workers_that_fit,
)
from harness.launch.scheduler import JobInfo
from harness.launch.shell import shell_value, whole_commands
from harness.run import Resources

DOCS = Path(__file__).parents[2] / "docs/cluster.md"
GPUS = Cluster(node=ComputeNode(cpus=64, gpus=8, memory_gb=500))


def written(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_the_description_of_the_docs_is_one(tmp_path: Path) -> None:
    text = re.search(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert text is not None
    cluster = load_cluster(written(tmp_path, text[1]))
    assert cluster.node == ComputeNode(cpus=64, gpus=8, memory_gb=500)
    assert cluster.environment["HARNESS_DATA"] == "/shared/data"
    assert cluster.at(cluster.cpu).partition == "cpu"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node: {cpus: 4}\npartitoin: main\n", ":2:1: unknown key 'partitoin'"),
        ("node: {cpus: 4}\ntime: 20\n", ":2:1: key 'time' is called 'minutes' here"),
        ("node: {cpus: 4}\nmem: 9G\n", "key 'mem' is written as `node: {memory_gb: ...}` here"),
        ("node: {cpus: 4, gres: gpu:4}\n", ":1:17: key 'gres' is called 'gpus' here"),
        ("node: {cpus: 4}\ncpu: {time: 20}\n", ":2:7: key 'time' is called 'minutes' here"),
        (
            "node: {cpus: 4}\nmodules: [cuda]\n",
            "key 'modules' is written as `setup: [module load ...]` here",
        ),
        (
            "node: {cpus: 4}\nmail-user: me\n",
            "key 'mail-user' is written as `options: {mail-user: ...}` here",
        ),
        ("node: {cpus: 4}\noptions: {time: 20}\n", "'time' is set by harness itself, by `minutes`"),
        ("node: {cpus: four}\n", ":1:14: "),
        ("node: {cpus: 0}\n", "must be at least 1, got 0"),
        ("partition: main\n", "node"),
        (
            "node: {cpus: 4}\nminutes: 1\nsignal_seconds: 60\n",
            ":3:17: signal_seconds: must be below the time",
        ),
        (
            "node: {cpus: 4}\nenvironment:\n  A: x\n  B;touch X;C: y\n",
            ":4:3: environment: 'B;touch X;C' is no name of a variable",
        ),
        ("node: {cpus: 4}\nenvironment: {UID: 5}\n", ":2:15: environment: 'UID' cannot be set"),
        ("node: {cpus: 4}\nenvironment: {HARNESS_HOME: x}\n", "'HARNESS_HOME' cannot be set"),
        ("node: {cpus: 4}\nenvironment: {A: [1]}\n", ":2:18: A: must be a text, got a list"),
        ("node: {cpus: 4}\nenvironment: [A]\n", ":2:14: environment: must be a mapping"),
        ("node: {cpus: 4}\noptions: {Mail User: x}\n", "'Mail User' is no option of sbatch"),
        ("node: {cpus: 4}\noptions: {array: 0-9}\n", "'array' is set by harness itself"),
        ("node: {cpus: 4}\noptions: {qos: low}\n", "'qos' has a key of its own"),
        ('node: {cpus: 4}\noptions: {mail-user: "a\\nb"}\n', "mail-user: must be one line"),
        ('node: {cpus: 4}\npartition: "a\\nrm x"\n', ":2:12: partition: must be one line"),
        ("node: {cpus: 4}\naccount: ' '\n", ":2:10: account: must be one line of text"),
        ("node: {cpus: 4}\nsetup: [if true]\n", ":2:8: setup: is no shell code"),
        ("node: {cpus: 4}\nsetup: [echo 'x]\n", "setup"),
        ("node: {cpus: 4}\nsetup: module load cuda\n", ":2:8: setup: must be a list"),
        ("node: {cpus: 1000000}\n", "cpus: must be at most 100,000, got 1000000"),
        ("node: {cpus: 4, memory_gb: 0}\n", ":1:28: memory_gb: must be above 0, got 0"),
        ("node: {cpus: 4, gpus: -1}\n", ":1:23: gpus: must not be negative, got -1"),
        ("node: {cpus: 4, memory_gb: .nan}\n", ":1:28: '.nan' is not a finite number"),
        ("node: {cpus: 4, gpus: 2.5}\n", "gpus: must be a whole number, got 2.5"),
        ("node: {cpus: 4}\nminutes: 99999999\n", "minutes: must be at most 527,040"),
        ("node: {cpus: 4}\nsignal_seconds: 70000\nminutes: 9000\n", "must be at most 65,535"),
        ("node: {cpus: 4}\ncpu: {partiton: x}\n", ":2:7: unknown key 'partiton'; did you mean"),
        ("node: {cpus: 4}\ncpu: {minutes: 1}\n", "below the time limit of 60 s in cpu"),
        ("node: {cpus: 4}\nrequeue: maybe\n", "requeue: must be true or false"),
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
    with pytest.raises(HarnessError, match="give one with cluster, set"):
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
    shape = job_resources(Resources(threads=2, workers=4), GPUS, device="cuda")
    one = JobResources(
        nodes=1, tasks=1, cpus=8, gpus=1, memory_mb=64000, minutes=240, exclusive=False
    )
    assert shape == one
    shape = job_resources(Resources(threads=8, hours=1), GPUS, device="cpu")
    assert shape == replace(one, gpus=0, minutes=60)


@pytest.mark.parametrize(
    ("resources", "cluster", "said"),
    [
        (Resources(threads=60, workers=5), GPUS, "asks for 65 CPUs"),
        (Resources(processes=11), GPUS, "over 2 nodes, which have room for 8 each: ask for 10 or"),
        (Resources(processes=16, nodes=1), GPUS, "are 16 a node, .* has room for 8 with 1 CPUs"),
        (Resources(processes=8, nodes=1, threads=9), GPUS, "has room for 7 with 9 CPUs each"),
        (Resources(memory_gb=501), GPUS, "asks for 501 GB of memory"),
        (Resources(), Cluster(node=ComputeNode(cpus=4)), "asks for a GPU"),
    ],
)
def test_what_no_node_gives_is_an_error(resources: Resources, cluster: Cluster, said: str) -> None:
    with pytest.raises(HarnessError, match=said):
        job_resources(resources, cluster, device="cuda", most=99)


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
    shape = job_resources(resources, GPUS, device=device, most=most)
    assert (shape.nodes, shape.tasks, shape.cpus, shape.gpus) == (nodes, tasks, cpus, gpus)
    share = max(gpus / 8, tasks * cpus / 64)
    assert shape.memory_mb == int(500 * share * 1024)


def test_workers_leave_every_gpu_of_a_node_its_share_of_the_cores() -> None:
    shape = job_resources(Resources(threads=1, workers=8), GPUS, device="cuda")
    assert (shape.cpus, shape.gpus) == (8, 1)
    assert with_workers_that_fit(Resources(threads=1, workers=8), GPUS, device="cuda").workers == 7
    assert with_workers_that_fit(Resources(threads=1, workers=8), GPUS, device="cpu").workers == 8
    assert job_resources(Resources(threads=9, workers=4), GPUS, device="cuda").cpus == 13
    odd = Cluster(node=ComputeNode(cpus=60, gpus=8))
    assert job_resources(Resources(threads=2, workers=6), odd, device="cuda").cpus == 7


def test_a_part_has_what_it_leaves_open_from_the_rest() -> None:
    node = ComputeNode(cpus=64, gpus=8)
    part = ClusterPart(partition="cpu", minutes=20)
    cluster = Cluster(
        node=node, partition="gpu", account="me", qos="high", constraint="a100", cpu=part
    )
    there = cluster.at(cluster.cpu)
    assert (there.partition, there.account, there.minutes, there.node) == ("cpu", "me", 20, node)
    assert (there.qos, there.constraint) == (None, None)  # those of another partition
    assert cluster.at(ClusterPart(minutes=5)).constraint == "a100"
    assert cluster.at(None) is cluster


def test_values_reach_a_shell_as_they_are_with_variables_put_in(tmp_path: Path) -> None:
    values = ["plain", "", 'it\'s "x"', "a\nb", "$$5 $HOME ${NOBODY}.", "é `x` $(x) \\$", "$1"]
    for value in values:
        script = f'export V={shell_value(value)}; printf %s "$V"'
        said = subprocess.run(["bash", "-uc", script], env={"HOME": "/h"}, capture_output=True)
        expected = value.replace("$HOME", "/h").replace("${NOBODY}", "").replace("$$", "$")
        assert said.stdout.decode() == expected, script


def test_the_environment_of_jobs_counts_while_a_plan_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROOT", "/shared")
    monkeypatch.setenv("HARNESS_DATA", "/mine")
    values = {"HARNESS_DATA": "$ROOT/data", "OTHER": "${HARNESS_DATA}:$$"}
    with as_in_jobs(Cluster(node=ComputeNode(cpus=1), environment=values)):
        assert (os.environ["HARNESS_DATA"], os.environ["OTHER"]) == (
            "/shared/data",
            "/shared/data:$",
        )
    assert os.environ["HARNESS_DATA"] == "/mine"
    assert "OTHER" not in os.environ


def test_lines_of_one_command_stay_together() -> None:
    lines = ["# modules", "if true", "then echo a", "fi", "echo a \\", "b", "cat <<X", "x", "X"]
    assert whole_commands(lines) == [
        "# modules",
        "if true\nthen echo a\nfi",
        "echo a \\\nb",
        "cat <<X\nx\nX",
    ]


@pytest.mark.parametrize(
    ("scratch", "said"),
    [
        ("/a:b", "must not hold ':'"),
        ("/a%j", "must not hold '%j'"),
        ("/x/$NOBODY/y", r"\$NOBODY is not known here"),
        ("~nosuchuser/x", "~nosuchuser is not known here"),
    ],
)
def test_a_folder_where_jobs_cannot_work_is_an_error(scratch: str, said: str) -> None:
    cluster = Cluster(node=ComputeNode(cpus=1), scratch=scratch)
    with pytest.raises(HarnessError, match=said):
        cluster.folder(Path("/results"))
    with pytest.raises(HarnessError, match="must not hold ':'"):
        Cluster(node=ComputeNode(cpus=1)).folder(Path("/my:results"))


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
    assert JobInfo(job="1", state=state).phase == standing
