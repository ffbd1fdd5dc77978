"""All tests, as two pytest processes at once: `python -m tests [OPTIONS OF PYTEST]`.

Tests of jobs and worker processes mostly wait, the others mostly compute: side by side they take
two cores half the time. What the waiting ones print is shown when both have ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

WAITING = ("tests/launch", "tests/slurm")
NO_TESTS = 5  # pytest's exit code where a selection leaves none


def main(options: list[str]) -> int:
    """The exit code: of the first process that has something to say."""
    pytest = [sys.executable, "-m", "pytest", *options]
    others = [f"--ignore={folder}" for folder in WAITING]
    with tempfile.TemporaryFile() as output:
        with subprocess.Popen(
            [*pytest, *WAITING], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        ) as waiting:
            try:
                codes = [subprocess.run([*pytest, "tests", *others]).returncode]
                codes.append(waiting.wait())
            finally:
                waiting.terminate()
        output.seek(0)
        sys.stdout.flush()
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    failed = [code for code in codes if code not in (0, NO_TESTS)]
    return failed[0] if failed else min(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
