"""Run directories: claimed by one process at a time, written atomically, read back by everybody."""

from harness.store.files import StoreError
from harness.store.lease import Lease, LeaseLost, claim
from harness.store.record import (
    DONE,
    FAILED,
    INTERRUPTED,
    PLANNED,
    QUEUED,
    RUNNING,
    STATES,
    Progress,
    RunRecord,
    State,
    has_result,
    read_record,
)
from harness.store.store import Store
from harness.store.writer import RunWriter

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "PLANNED",
    "QUEUED",
    "RUNNING",
    "STATES",
    "Lease",
    "LeaseLost",
    "Progress",
    "RunRecord",
    "RunWriter",
    "State",
    "Store",
    "StoreError",
    "claim",
    "has_result",
    "read_record",
]
