"""
The command line: every command, its arguments, and the function that runs it.

Functions are named as text and imported when they are run, so that a command
imports what it needs and nothing else.
"""

from __future__ import annotations

import argparse

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple, NoReturn

from castore.cli.exits import CommandError, Exit
from castore.cli.output import Output
from castore.cli.text import (
    parse_count,
    parse_duration,
    parse_share,
    parse_size,
    parse_time,
)


Arguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace, Output], Exit]
FORMATS = (
    "claude-code",
    "claw-code",
    "claw-legacy",
    "claw-port",
    "jsonl",
    "pi",
    "swe-agent",
)
SHELLS = ("bash", "zsh", "fish")
LEVEL_MAX = 19  # of zstd, without its costly ones


class Command(NamedTuple):
    """
    One command.

    Attributes:
        name: As it is called.

        help: What it does, in one line.

        arguments: Adds its arguments.

        place: ``module:function`` below `castore.cli`.
    """

    name: str
    help: str
    arguments: Arguments
    place: str

    def load(self) -> Run:
        """Import and return the function that runs this command."""
        module, _, function = self.place.partition(":")
        run: Run = getattr(import_module(f"castore.cli.{module}"), function)
        return run


class Parser(argparse.ArgumentParser):
    """A parser whose errors are errors of a command."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise CommandError(Exit.USAGE, f"{message}; see {self.prog} --help")


def build() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="castore",
        description="A content-addressed, crash-safe store for the logs of LLM agents.",
        epilog="castore help json: what --json prints; castore help exits: exit codes.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action="store_true", help="say which version it is"
    )
    _add_common(parser, top=True)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            allow_abbrev=False,
        )
        _add_common(sub, top=False)
        command.arguments(sub)
    return parser


def find_command(name: str) -> Command:
    """Return the command called *name*."""
    return next(command for command in COMMANDS if command.name == name)


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return dict(action.choices)
    return {}


def options_of(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[tuple[str, ...], argparse.Action]]:
    """Yield the flags of each option of *parser*, none for a plain argument."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way
        if not isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            yield tuple(action.option_strings), action


def _add_common(parser: argparse.ArgumentParser, *, top: bool) -> None:
    # What is said before the command must not be undone by a default behind it.
    def default(value: object) -> object:
        return value if top else argparse.SUPPRESS

    parser.add_argument(
        "--store",
        metavar="DIR",
        default=default(None),
        help="the store's folder (default: CASTORE_STORE, else the user's data folder)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        default=default(value=False),
        help="print one JSON object",
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        default=default(value=False),
        help="say nothing but faults, errors, and what a script would read",
    )


# --- arguments of each command -----------------------------------------------


def _none(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def _bounded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-bytes",
        type=parse_size,
        metavar="SIZE",
        help="refuse what would make the store larger than this",
    )


def _placed(parser: argparse.ArgumentParser, default: str | None = "-") -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=default,
        help="where to write; - is standard output",
    )
    parser.add_argument("--force", action="store_true", help="replace FILE")


def _segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "segment",
        metavar="SEGMENT",
        help="id, unique prefix of it, session key, or path that was imported",
    )


def _leveled(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--level",
        type=int,
        choices=range(1, LEVEL_MAX + 1),
        metavar=f"1-{LEVEL_MAX}",
        default=9,
        help="of compression (default: 9)",
    )


def _timed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-duration",
        type=parse_duration,
        metavar="DURATION",
        help="begin nothing more after this: 90s, 10m, 2h",
    )


def _pack(parser: argparse.ArgumentParser) -> None:
    _leveled(parser)
    _timed(parser)


def _maintain(parser: argparse.ArgumentParser) -> None:
    _pack(parser)
    _collecting(parser)
    parser.add_argument(
        "--verify-share",
        type=parse_share,
        metavar="1/N",
        default=7,
        help="check so much, what was not checked for longest first (default: 1/7)",
    )


def _import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    parser.add_argument("--format", choices=FORMATS, help="of all of them")
    _bounded(parser)


def _scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    parser.add_argument(
        "--limit",
        type=parse_count,
        metavar="N",
        default=20,
        help="name so many files, the largest first (default: 20)",
    )


def _restore(parser: argparse.ArgumentParser) -> None:
    _segment(parser)
    _placed(parser)


def _put(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="- is standard input")
    parser.add_argument("--tag", metavar="NAME", help="(default: the reference itself)")
    parser.add_argument(
        "--like", metavar="REF", help="what it is similar to, to store the difference"
    )
    _bounded(parser)


def _get(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ref", metavar="REF", help="reference or tag")
    _placed(parser)


def _tag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("ref", nargs="?", metavar="REF", help="reference or other tag")
    parser.add_argument("--delete", action="store_true", help="let go of NAME")


def _ls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=parse_count, metavar="N", help="newest only")


def _log(parser: argparse.ArgumentParser) -> None:
    _segment(parser)
    parser.add_argument(
        "--kind", action="append", metavar="KIND", help="may be repeated"
    )
    parser.add_argument("--since", type=parse_time, metavar="TIME", help="UTC")
    parser.add_argument("--until", type=parse_time, metavar="TIME", help="not included")
    parser.add_argument("--id", metavar="NATIVE", help="what the entry calls itself")
    parser.add_argument("--reverse", action="store_true", help="newest first")
    parser.add_argument("--limit", type=parse_count, metavar="N", help="this many")


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "entry", metavar="SEGMENT[INDEX]", help="an index below 0 counts from the end"
    )
    parser.add_argument("--body", action="store_true", help="write its bytes")
    _placed(parser, default=None)


def _fork(parser: argparse.ArgumentParser) -> None:
    _segment(parser)
    parser.add_argument(
        "--at", type=parse_count, metavar="N", help="how many entries it inherits"
    )


def _verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", nargs="?", metavar="DIR", help="another store than the usual one"
    )


def _collecting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace",
        type=parse_duration,
        metavar="DURATION",
        default=24 * 3600.0,
        help="from condemned to deleted: 0, 30m, 24h, 7d (default: 24h)",
    )
    parser.add_argument(
        "--keep-checkpoints",
        type=parse_count,
        metavar="N",
        help="release all but the newest N checkpoints of each log",
    )
    parser.add_argument(
        "--yes", action="store_true", help="even if more than half of the store goes"
    )


def _gc(parser: argparse.ArgumentParser) -> None:
    _collecting(parser)
    parser.add_argument("--dry-run", action="store_true", help="change nothing")


def _report(parser: argparse.ArgumentParser) -> None:
    _placed(parser)
    parser.add_argument(
        "--names", action="store_true", help="tell paths and keys of sessions"
    )
    parser.add_argument("--verify", action="store_true", help="check everything too")
    parser.add_argument(
        "--limit",
        type=parse_count,
        metavar="N",
        default=20,
        help="list so many sessions, the largest first (default: 20)",
    )


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deep", action="store_true", help="compare the whole catalog with the files"
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", metavar="PATH", help="transcripts")
    parser.add_argument("--keep", metavar="DIR", help="leave the store in this folder")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def _help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="a command, json, or exits"
    )


COMMANDS = (
    Command("scan", "say what an import of files would save", _scan, "scanning:run"),
    Command("init", "make a store", _none, "stores:init"),
    Command("import", "take transcripts in", _import, "transcripts:import_"),
    Command("restore", "give a transcript back", _restore, "transcripts:restore"),
    Command("put", "take a payload in, print its reference", _put, "payloads:put"),
    Command("get", "write a payload", _get, "payloads:get"),
    Command("tag", "keep a payload under a name; list tags", _tag, "payloads:tag"),
    Command("ls", "list segments, newest commit first", _ls, "logs:ls"),
    Command("log", "list entries of a segment", _log, "logs:log"),
    Command("show", "say what an entry is", _show, "logs:show"),
    Command("fork", "begin a segment with entries of another", _fork, "logs:fork"),
    Command("rm", "delete a segment", _segment, "logs:rm"),
    Command("maintain", "pack, gc, verify a share", _maintain, "maintaining:run"),
    Command("pack", "rewrite closed files as packs", _pack, "stores:pack"),
    Command("verify", "check everything, offline", _verify, "checking:verify"),
    Command("gc", "remove what nothing needs", _gc, "checking:gc"),
    Command("rebuild", "make the catalog anew", _none, "stores:rebuild"),
    Command("stats", "print totals", _none, "stores:stats"),
    Command("report", "write a page about the store", _report, "reporting:run"),
    Command("doctor", "say what castore sees here", _doctor, "doctor:doctor"),
    Command("demo", "show it at work", _demo, "demo:demo"),
    Command("completion", "print a script for a shell", _completion, "completion:run"),
    Command("help", "explain a command, json, or exits", _help, "helping:run"),
)
