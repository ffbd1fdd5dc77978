"""slurmdbd and a MariaDB of its own, for a cluster that keeps accounts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

COMMANDS = ("slurmdbd", "sacct", "sacctmgr", "mariadbd", "mariadb-install-db")
PLUGIN = "slurm-wlm/accounting_storage_mysql.so"
NEEDED = "apt-get install --no-install-recommends slurmdbd slurm-wlm-mysql-plugin mariadb-server"

SLURMDBD = """
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
DbdHost=localhost
DbdPort={port}
SlurmUser=root
PidFile={root}/slurmdbd.pid
LogFile={root}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=root
"""
CLUSTER = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={root}/munge/socket
"""


def lacking() -> bool:
    """Whether it cannot be started here."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return not any(Path("/usr/lib").glob(f"*/{PLUGIN}")) or any(
        shutil.which(name, path=path) is None for name in COMMANDS
    )


def write_configuration(root: Path, *, port: int, database: int) -> str:
    """slurmdbd's, beside slurm.conf; the lines for that."""
    path = root / "slurmdbd.conf"
    path.write_text(SLURMDBD.format(root=root, port=port, database=database))
    path.chmod(0o600)
    return CLUSTER.format(port=port, root=root)


def make_database(root: Path, port: int) -> list[str]:
    """An empty database; the command that serves it."""
    folder = root / "database"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={folder}", "--user=root"],
        check=True,
        capture_output=True,
    )
    options = {
        "datadir": folder,
        "socket": root / "database.socket",
        "pid-file": root / "database.pid",
        "port": port,
        "bind-address": "127.0.0.1",
        "user": "root",
        "innodb-buffer-pool-size": "16M",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    return ["mariadbd", "--no-defaults", "--skip-grant-tables", *words]
