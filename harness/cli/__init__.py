"""The command `harness`: one module of this package is one command, with `add`, its options, and
`run`, which returns the exit code.

Only the module of the command that was typed is imported: `harness --help` answers at once.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness import __version__, process, variables
from harness.errors import HarnessError, SpecError, cause
from harness.text import as_typed, in_one_line

DONE, USER_ERROR, SOME_FAILED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes."""
COMMANDS = {
    "cancel": "cancel the SLURM jobs of a table or a run",
    "check": "validate specs",
    "claims": "the claims of all tables on one page, and which of them hold",
    "data": "data sets: where they come from, fetch, check",
    "diff": "your results against the reference results, exit code 2 when something drifted; or "
    "one run against another",
    "doctor": "what this machine can run, and what it lacks",
    "list": "tables, profiles, how much is done",
    "logs": "what a run printed",
    "plan": "what would run, what is cached, what blocks what, the cost; runs nothing",
    "references": "run every table of a reference again and publish it",
    "report": "aggregate the results and render them, with a verdict for every cell and claim",
    "reproduce": "run what is missing, then report: one command for a table",
    "run": "run what is missing, with live progress",
    "show": "a row's configuration, with the file and line of each value",
    "status": "state of every run; reads only",
}
"""What `harness --help` says of each."""
MOST_NEW = 5_000_000
"""Objects after which circles are looked for: of the millions that a store of ten thousand runs
makes, none are circles, and looking at all of them every 700 takes a third of the time.
"""
HINTS = {
    "TABLE": "`harness list` shows all tables",
    "RUN": "`harness status TABLE` lists the runs of a table",
}
"""Where to find what a command was not given."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, return its exit code; a user's mistake is a message on stderr."""
    if argv is None:  # a process of its own
        process.prepare_process()
        gc.set_threshold(MOST_NEW)
    words = sys.argv[1:] if argv is None else argv
    try:
        with as_typed():
            code = _run(words)
        sys.stdout.flush()  # so that what cannot be written is noticed here
    except HarnessError as error:
        print(_of_user(told(error), words), file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `harness status --watch | head`
        return DONE
    except OSError as error:
        print(f"error: {_of_user(_failed(error), words)}", file=sys.stderr)
        return USER_ERROR
    problem = process.output_problem()
    if problem is not None:
        print(f"error: the output cannot be written: {cause(problem)}", file=sys.stderr)
        return code or USER_ERROR
    return code


def _run(argv: Sequence[str]) -> int:
    try:
        arguments = _parser(argv).parse_args(argv)
    except (SyntaxError, ImportError) as error:  # in the package itself: nothing can go on
        from harness import registry

        last = traceback.format_exception_only(error)[-1].strip()
        raise HarnessError(f"{registry.place_of(error)}: {last}") from error
    variables.current_folder()  # where it is gone, libraries end the process
    if getattr(arguments, "watch", False) or getattr(arguments, "follow", False):
        process.end_without_reader()
    for line in variables.misspelt():
        print(f"warning: {line}", file=sys.stderr)
    with _warnings_of_components():
        code: int = arguments.run(arguments)
    return code


@contextmanager
def _warnings_of_components() -> Iterator[None]:
    """A line for each component that cannot be used, as soon as it is looked for: before the work
    that it may be missing in.
    """
    from harness import registry

    said: set[str] = set()

    def tell() -> None:
        for line in registry.broken_components():
            if line not in said:
                print(f"warning: {line}", file=sys.stderr)
                said.add(line)

    tell()
    registry.Registry.when_loaded = tell
    try:
        yield
    finally:
        registry.Registry.when_loaded = None


def told(error: HarnessError) -> str:
    """As it is printed: a problem of a spec begins with its place."""
    return str(error) if isinstance(error, SpecError) else f"error: {error}"


def _of_user(message: str, words: Sequence[str]) -> str:
    """A message with what the user said, in `words` or the environment, in one line."""
    return in_one_line(
        message, [*words, *(variables.value(name) or "" for name in variables.VARIABLES)]
    )


def _failed(error: OSError) -> str:
    """What the system refused, and for which file."""
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([*files[:1], cause(error)])


class _CommandParser(argparse.ArgumentParser):
    """Exits with 1 for a wrong command line, as for other mistakes; 2 means that runs failed."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        missing = message.partition("are required: ")[2]  # argparse says it in no other way
        hint = f"; {HINTS[missing]}" if missing in HINTS else ""
        message = in_one_line(message, [message])
        self.exit(USER_ERROR, f"error: {message}{hint}\n")


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """One that knows all about the command of `argv`, and of the others what they are for."""
    typed = next((word for word in argv if not word.startswith("-")), None)
    parser = _CommandParser(
        prog="harness",
        description="Runs the tables of masked-distillation ViT papers and says what holds.",
    )
    parser.add_argument("--version", action="version", version=f"harness {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_CommandParser)
    for name, what in COMMANDS.items():
        if name != typed:
            commands.add_parser(name, help=what)
            continue
        module, command = importlib.import_module(f"{__name__}.{name}"), commands.add_parser(name)
        command.set_defaults(run=module.run)
        module.add(command)
    return parser
