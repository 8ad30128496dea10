"""
The command ``castore``.

One module for each group of commands; a command is a function of its options
and its `Output` that returns an exit code. Nothing is imported before it is
needed: asking for help opens no database driver.
"""

from __future__ import annotations

import os
import sys

from collections.abc import Sequence

from castore.cli import exits
from castore.cli.exits import BROKEN_PIPE, CommandError, Exit
from castore.cli.output import Output
from castore.cli.parser import build, find_command


__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit code (`castore.cli.exits`).

    Args:
        argv: Arguments; those of the process by default.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return code


def _run(argv: Sequence[str]) -> int:
    out = Output(json="--json" in argv)  # until the line is understood
    try:
        options = build().parse_args(argv)
        out = Output(json=options.json, quiet=options.quiet)
        if options.version:
            return _version(out)
        if options.command is None:
            what = "no command; see castore --help"
            raise CommandError(Exit.USAGE, what)
        return find_command(options.command).load()(options, out)
    except BrokenPipeError:
        raise
    except SystemExit:
        return Exit.DONE  # argparse has printed the help
    except Exception as error:
        code = exits.code_of(error)
        if code is None:
            raise
        out.fail(code, error)
        return code


def _version(out: Output) -> Exit:
    from castore.cli.versions import own_version

    out.answer(f"castore {own_version()}")
    out.object({"version": own_version()})
    return Exit.DONE
