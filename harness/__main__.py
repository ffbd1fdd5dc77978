"""The command `harness`, as `python -m harness` too."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command; Ctrl-C ends it without a traceback, while its modules are loaded too."""
    try:
        from harness import cli  # not above: that takes a while

        return cli.main()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
