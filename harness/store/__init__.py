"""Run directories: claimed by one process at a time, written atomically, read back by everybody."""

from harness.store.files import FileError, StoreError
from harness.store.job import JobNote, drop_job, name_job, read_job, reserve_job
from harness.store.lease import Lease, LeaseLost, claim
from harness.store.recompute import cure, damage, put_aside
from harness.store.record import (
    DONE,
    FAILED,
    INTERRUPTED,
    PLANNED,
    QUEUED,
    RUNNING,
    STATES,
    UNREADABLE,
    Progress,
    RunRecord,
    State,
    has_result,
    read_record,
)
from harness.store.result import Artifact
from harness.store.store import Store, Survey
from harness.store.writer import RunWriter, tidy

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "PLANNED",
    "QUEUED",
    "RUNNING",
    "STATES",
    "UNREADABLE",
    "Artifact",
    "FileError",
    "JobNote",
    "Lease",
    "LeaseLost",
    "Progress",
    "RunRecord",
    "RunWriter",
    "State",
    "Store",
    "StoreError",
    "Survey",
    "claim",
    "cure",
    "damage",
    "drop_job",
    "has_result",
    "name_job",
    "put_aside",
    "read_job",
    "read_record",
    "reserve_job",
    "tidy",
]
