"""What a batch frees is there for the next one."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from harness.launch.context import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def batch():
    parts = [np.ones(24_000_000, np.uint8) for _ in range(3)]
    del parts
batch()
before = pages()
for _ in range(10):
    batch()
print(pages() - before)
"""


def new_pages(how: str) -> int:
    """Pages of 4 kB that the system gave a process for ten batches like its first."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_batches_use_the_same_memory_again() -> None:
    assert new_pages("kept") < 1_000 < new_pages("given back")
