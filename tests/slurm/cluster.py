"""A SLURM cluster of virtual nodes on this machine: Debian's packages, root, no systemd."""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.slurm import accounting

NODES = ("n1", "n2", "n3")
COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "munged")
NEEDED = "a real SLURM as root: apt-get install --no-install-recommends slurmctld slurmd munge"

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={root}/munge/socket,cred_expire=5
SlurmctldPort={port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
SlurmdTimeout=300
KillWait=60
MessageTimeout=10
MinJobAge=3600
MaxArraySize=1001
FirstJobId={first}
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=120 State=UP
PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=10 State=UP
"""


def lacking() -> bool:
    """Whether a cluster cannot be started here."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return os.getuid() != 0 or any(shutil.which(name, path=path) is None for name in COMMANDS)


class SlurmCluster:
    """Daemons as child processes, ended with the test."""

    def __init__(
        self, root: Path, *, nodes: tuple[str, ...] = NODES, accounts: bool = False
    ) -> None:
        self.root = root
        self.nodes = nodes
        self.gpus = False
        self._accounts = accounts
        path = f"{os.environ['PATH']}:/usr/sbin"
        self.variables = {"SLURM_CONF": str(root / "slurm.conf"), "PATH": path}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._ports: list[tuple[int, IO[bytes]]] = []

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def start(self) -> None:
        """Write the configuration and wait until all nodes are idle."""
        for name in ("state", "munge", *(f"spool/{node}" for node in self.nodes)):
            (self.root / name).mkdir(parents=True)
        (self.root / "munge").chmod(0o755)
        self.gpus = _make_devices(self.root)
        if self.gpus:
            names = ",".join(self.nodes)
            (self.root / "gres.conf").write_text(
                f"NodeName={names} Name=gpu File={self.root}/gpu[0-1]\n"
            )
        host = socket.gethostname().partition(".")[0]
        self._ports = _free_ports(len(self.nodes) + 3)
        ports = [port for port, _ in self._ports]
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 "
            "RealMemory=4000 State=UNKNOWN" + (" Gres=gpu:2" if self.gpus else "")
            for node, port in zip(self.nodes, ports[3:], strict=True)
        ]
        more = ""
        if self._accounts:
            more = accounting.write_configuration(self.root, port=ports[1], database=ports[2])
        (self.root / "slurm.conf").write_text(
            more
            + CONFIG.format(
                host=host,
                root=self.root,
                port=ports[0],
                first=int(time.time()) % 1_000_000 + 1,
                nodes="\n".join(nodes),
            )
        )
        self._munge()
        if self._accounts:
            self._start_accounts(ports[1], ports[2])
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        self.wait(self.idle)

    def _start_accounts(self, port: int, database: int) -> None:
        self._spawn("mariadbd", *accounting.make_database(self.root, database))
        self.wait(lambda: _listens(database))
        self._spawn("slurmdbd", "slurmdbd", "-D")
        self.wait(lambda: _listens(port))
        self.call("sacctmgr", "-i", "add", "cluster", "test")

    def start_controller(self) -> None:
        """The controller; after a stop it goes on with its jobs."""
        self._spawn("slurmctld", "slurmctld", "-D")

    def start_node(self, node: str) -> None:
        """The daemon of a node."""
        self._spawn(node, "slurmd", "-D", "-N", node)

    def kill(self, daemon: str, how: int = signal.SIGKILL) -> None:
        """End one daemon; what its node computes goes on."""
        process = self._daemons.pop(daemon)
        process.send_signal(how)
        process.wait()

    def kill_all(self, node: str, job: str) -> None:
        """A node dies, with all that it computes of a job."""
        self.kill(node)
        mine = {f"SLURM_CONF={self.root / 'slurm.conf'}".encode(), f"SLURM_JOB_ID={job}".encode()}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
                found = mine <= set((process / "environ").read_bytes().split(b"\0"))
            except OSError:  # it has ended meanwhile
                continue
            if found or b"slurmstepd: [%s." % job.encode() in words:
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)

    def call(self, *words: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, env=self._environment
        )
        return done.stdout

    def node_of(self, job: str) -> str:
        """Where a job runs."""
        return self.call("squeue", "-h", "-j", job, "-o", "%N").strip()

    def wait(self, what: Callable[[], object], seconds: float = 600) -> None:
        """Until `what()` is true; the bound is for tests that would never end."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, f"waited too long; {self.call('squeue', '-t', 'all')}"
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether the controller does."""
        return "is UP" in self.call("scontrol", "ping")

    def empty(self) -> bool:
        """Whether no job is pending or running."""
        return self.call("squeue", "-h", "-r") == ""

    def idle(self) -> bool:
        """Whether all nodes wait for work."""
        states = self.call("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()
        return states == ["idle"] * len(self.nodes)

    def clear(self) -> None:
        """No job, all daemons there."""
        if "slurmctld" not in self._daemons:
            self.start_controller()
        for node in self.nodes:
            if node not in self._daemons:
                self.start_node(node)
        self.wait(self.answers)
        self.call("scancel", "-u", "root")
        self.wait(self.empty)
        self.wait(self.idle)

    def stop(self) -> None:
        """End all daemons."""
        self.call("scancel", "-u", "root")
        for name in [*self.nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"]:
            process = self._daemons.pop(name, None)
            if process is not None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for _, lock in self._ports:
            Path(lock.name).unlink(missing_ok=True)
            lock.close()

    def _munge(self) -> None:
        folder = self.root / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        paths = [f"--{name}-file={folder / name}" for name in ("key", "pid", "log", "seed")]
        self._spawn("munged", "munged", "-F", "--force", f"--socket={folder / 'socket'}", *paths)
        self.wait((folder / "socket").exists)

    def _spawn(self, name: str, *words: str) -> None:
        with (self.root / f"{name}.console").open("ab") as console:
            self._daemons[name] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=self._environment,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )


def _make_devices(root: Path) -> bool:
    """Two that stand for GPUs; False where this machine does not allow it."""
    try:
        for number in range(2):
            os.mknod(root / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError:
        return False
    return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # or daemons of a killed test run live on


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[tuple[int, IO[bytes]]]:
    """Ports that nobody listens at, each with a file whose lock keeps other test runs away.

    They lie below those that the system gives to connections, which come and go.
    """
    found: list[tuple[int, IO[bytes]]] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000), 12_000):
        if len(found) == count:
            break
        lock = (Path(tempfile.gettempdir()) / f"harness-test-port-{port}").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        found.append((port, lock))
    return found
