"""Names, values and lines of a cluster's description, as a shell of a job takes them."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence

VARIABLES = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
"""`$NAME` and `${NAME}` in values under `environment`, and `$$` for a dollar sign."""
_READ_ONLY = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})
_DECIDED = frozenset({"HARNESS_CLUSTER", "HARNESS_HOME", "HARNESS_RESULTS", "PYTHONSAFEPATH"})


def wrong_variable(name: str) -> str | None:
    """Why a job's script cannot export a variable of that name; None if it can."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return "is no name of a variable: letters, digits and _, no digit first"
    if name in _READ_ONLY:
        return "cannot be set: it is the shell's own"
    return "cannot be set: the command that submits decides it" if name in _DECIDED else None


def shell_value(value: str) -> str:
    """A value under `environment` as a word for the shell of a job, which puts variables in."""
    word, position = "", 0
    for match in VARIABLES.finditer(value):
        word += _quoted(value[position : match.start()])
        word += "'$'" if match[1] else f'"${{{match[2] or match[3]}-}}"'
        position = match.end()
    return (word + _quoted(value[position:])) or "''"


def whole_commands(lines: Sequence[str]) -> list[str]:
    """Lines, those of one command together; ValueError where the last one is not whole."""
    commands: list[str] = []
    begun = wrong = ""
    for line in lines:
        begun = f"{begun}\n{line}" if begun else line
        wrong = _incomplete(begun)
        if not wrong:
            commands.append(begun)
            begun = ""
    if begun:
        raise ValueError(f"is no shell code: {wrong}")
    return commands


def _incomplete(text: str) -> str:
    """What a shell says of the text without running it; empty where it is whole."""
    if "\0" in text:
        return "it holds a zero byte"
    if re.search(r"(?<!\\)(\\\\)*\\$", text):
        return "it ends with a backslash"
    try:
        checked = subprocess.run(
            ["bash", "-n"],
            input=text.encode(errors="surrogateescape"),
            capture_output=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no bash here: the node will tell
    lines = checked.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else ""


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else ""
