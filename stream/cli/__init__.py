"""The command line: a module for each command with add(subparsers) and main(args) → exit code; errors become one line.

Exit codes: 0 done, 2 usage, 65 bad data, 69 and 75 try again, 70 a bug, 77 credentials, 78 settings, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from stream import __version__
from stream.errors import SegstreamError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS: Final = {
    "run": "keep the segments equal to the tables, until stopped",
    "check": "say whether settings, Kafka and retail.red fit together, and change nothing",
    "probe": "ask retail.red for its limits and manners, with a throw-away segment",
    "lookup": "say whom an email or a number means at retail.red, or why nobody",
    "segments": "compare the source's segments with retail.red's; accept a changed code",
    "settings": "print every setting with its meaning and default, as YAML",
    "sandbox": "serve a simulated retail.red on this machine",
    "demo": "show the whole on this machine, without Kafka or an account",
    "version": "print the versions",
}
EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except SegstreamError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # whoever read us has seen enough; the interpreter must not complain about it when it flushes at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception:  # noqa: BLE001 - the last place where private text can be kept off the terminal
        from stream.edge.logs import redact  # noqa: PLC0415 - most commands never need it

        sys.stderr.write(redact(traceback.format_exc()))
        sys.stderr.write("segstream: this is a bug: please report it with the lines above\n")
        return EXIT_BUG
    return code


def _run(arguments: list[str]) -> int:
    # only the named command's module is loaded: `settings` needs no Kafka client
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    module = importlib.import_module(f"stream.cli.{named}") if named in COMMANDS else None
    if named == "sandbox" and arguments[0] == named and module is not None:
        # it has options of its own, which this parser does not know
        return int(module.main(argparse.Namespace(rest=arguments[1:])))
    parser = argparse.ArgumentParser(
        prog="segstream",
        description="Keeps retail.red segments equal to your membership tables.",
        epilog="segstream COMMAND --help tells more",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"segstream {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name == named and module is not None:
            module.add(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    args = parser.parse_args(arguments)
    if module is None:
        parser.error("a command is required")
    return int(module.main(args))


def _complain(error: SegstreamError) -> None:
    from stream.edge.logs import redact  # noqa: PLC0415 - most commands never need it

    lines = [line for line in str(error).splitlines() if line] or [type(error).__name__]
    if error.advice:
        lines.append(error.advice)
    for line in lines:
        # settings hide their secrets themselves; their lines are about keys called password, which would be mangled
        sys.stderr.write(f"segstream: {line if isinstance(error, SettingsError) else redact(line)}\n")
