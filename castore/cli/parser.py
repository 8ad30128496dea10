"""
The command line: every command, and the function that runs it.

Functions are named as text and imported when they are run, so that a command
imports what it needs and nothing else.
"""

from __future__ import annotations

import argparse

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import NamedTuple, NoReturn

from castore.cli import arguments as args
from castore.cli import bundling_arguments as bundle
from castore.cli import checking_arguments as checking
from castore.cli import keeping_arguments as keeping
from castore.cli import maintenance_arguments as upkeep
from castore.cli import proving_arguments as proofs
from castore.cli.exits import CommandError, Exit
from castore.cli.output import Output


Arguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace, Output], Exit]


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


COMMANDS = (
    Command("scan", "say what an import would save", args.scan, "scanning:run"),
    Command("init", "make a store", args.none, "stores:init"),
    Command(
        "import", "take transcripts or bundles in", args.import_, "importing:import_"
    ),
    Command(
        "export",
        "write segments into a file of their own",
        bundle.export,
        "bundling:export",
    ),
    Command("push", "send what another store lacks", bundle.push, "bundling:push"),
    Command("pull", "get what another store has", bundle.pull, "bundling:pull"),
    Command("restore", "give a transcript back", args.restore, "transcripts:restore"),
    Command("put", "take a payload in, print its reference", args.put, "payloads:put"),
    Command("get", "write a payload", args.get, "payloads:get"),
    Command("tag", "keep a payload under a name; list tags", args.tag, "payloads:tag"),
    Command("ls", "list segments, newest commit first", args.ls, "logs:ls"),
    Command("log", "list entries of a segment", args.log, "logs:log"),
    Command("show", "say what an entry is", args.show, "logs:show"),
    Command("fork", "begin a segment with entries of another", args.fork, "logs:fork"),
    Command("rm", "delete a segment", args.segment, "logs:rm"),
    Command("maintain", "pack, gc, verify a share", upkeep.maintain, "maintaining:run"),
    Command("pack", "rewrite closed files as packs", args.pack, "stores:pack"),
    Command("verify", "check everything, offline", checking.verify, "checking:verify"),
    Command("repair", "mend what is damaged", checking.repair, "repairing:repair"),
    Command("prove", "write a proof about a log", proofs.prove, "proving:prove"),
    Command("check", "check proofs, without a store", proofs.check, "checkup:check"),
    Command("key", "make a key to sign notes with", proofs.key, "sealing:key"),
    Command("seal", "sign a note about the store", proofs.seal, "sealing:seal"),
    Command(
        "recover",
        "say that an older state was restored",
        proofs.recover,
        "sealing:recover",
    ),
    Command(
        "evidence", "show that two notes differ", proofs.evidence, "sealing:evidence"
    ),
    Command("gc", "remove what nothing needs", upkeep.gc, "collecting:gc"),
    Command(
        "backup", "copy the store, or what is new of it", upkeep.backup, "backing:run"
    ),
    Command("erase", "remove something for good", args.erase, "erasing:erase"),
    Command("policy", "list or set what gc keeps", keeping.policy, "keeping:policy"),
    Command("pin", "keep an entry; list pins", keeping.pin, "keeping:pin"),
    Command("unpin", "let go of a pinned entry", keeping.unpin, "keeping:unpin"),
    Command(
        "explain", "say why it is kept, or gone", keeping.explain, "keeping:explain"
    ),
    Command("rebuild", "make the catalog anew", args.none, "stores:rebuild"),
    Command("stats", "print totals", args.none, "stores:stats"),
    Command("report", "write a page about the store", args.report, "reporting:run"),
    Command("doctor", "say what castore sees here", args.doctor, "doctor:doctor"),
    Command("demo", "show it at work", args.demo, "demo:demo"),
    Command(
        "completion", "print a script for a shell", args.completion, "completion:run"
    ),
    Command(
        "help", "explain a command, json, exits, metrics", args.help_, "helping:run"
    ),
)
