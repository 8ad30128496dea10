"""
The arguments of each command.
"""

from __future__ import annotations

import argparse

from castore.cli.text import (
    parse_count,
    parse_duration,
    parse_size,
    parse_time,
)


FORMATS = (
    "claude-code",
    "claw-code",
    "claw-legacy",
    "claw-port",
    "codex",
    "gemini",
    "gemini-json",
    "jsonl",
    "pi",
    "segment-log",
    "session-log",
    "swe-agent",
    "trace-log",
)
RUNTIME = "runtime"  # commits made again; the file's bytes are not kept
SHELLS = ("bash", "zsh", "fish")
LEVEL_MAX = 19  # of zstd, without its costly ones


def none(parser: argparse.ArgumentParser) -> None:
    """Add nothing."""


def bounded(parser: argparse.ArgumentParser) -> None:
    """Add the limit of what a command may store."""
    parser.add_argument(
        "--max-bytes",
        type=parse_size,
        metavar="SIZE",
        help="refuse what would make the store larger than this",
    )


def placed(parser: argparse.ArgumentParser, default: str | None = "-") -> None:
    """Add where to write."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        default=default,
        help="where to write; - is standard output",
    )
    parser.add_argument("--force", action="store_true", help="replace FILE")


def segment(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """Add the segment that is meant."""
    parser.add_argument(
        "segment",
        nargs=nargs,
        metavar="SEGMENT",
        help="id, unique prefix of it, session key, or path that was imported",
    )


def leveled(parser: argparse.ArgumentParser) -> None:
    """Add the level of compression."""
    parser.add_argument(
        "--level",
        type=int,
        choices=range(1, LEVEL_MAX + 1),
        metavar=f"1-{LEVEL_MAX}",
        default=9,
        help="of compression (default: 9)",
    )


def timed(parser: argparse.ArgumentParser) -> None:
    """Add the time that a command may take."""
    parser.add_argument(
        "--max-duration",
        type=parse_duration,
        metavar="DURATION",
        help="begin nothing more after this: 90s, 10m, 2h",
    )


def pack(parser: argparse.ArgumentParser) -> None:
    """Add what ``pack`` takes."""
    leveled(parser)
    timed(parser)


def choosing(parser: argparse.ArgumentParser) -> None:
    """Add which files are meant."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="files and folders")
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="GLOB",
        help="leave out what it matches, by name or path; may be repeated",
    )
    parser.add_argument(
        "--since", type=parse_time, metavar="TIME", help="only files changed since; UTC"
    )


def import_(parser: argparse.ArgumentParser) -> None:
    """Add what ``import`` takes."""
    parser.add_argument("--format", choices=(*FORMATS, RUNTIME), help="of all of them")
    choosing(parser)
    parser.add_argument(
        "--watch",
        action="store_true",
        help="go on taking in what grows, until SIGINT or SIGTERM",
    )
    parser.add_argument(
        "--interval",
        type=parse_duration,
        metavar="DURATION",
        default=5.0,
        help="between two looks of --watch (default: 5s)",
    )
    parser.add_argument(
        "--remove",
        action="store_true",
        help="remove each original that the store gave back equal, byte for byte",
    )
    parser.add_argument(
        "--older-than",
        type=parse_duration,
        metavar="DURATION",
        help="with --remove: that was not changed for so long: 14d, 2w",
    )
    parser.add_argument(
        "--as-fork",
        action="store_true",
        help="of a bundle: take in as a fork what went on otherwise here",
    )
    bounded(parser)


def scan(parser: argparse.ArgumentParser) -> None:
    """Add what ``scan`` takes."""
    choosing(parser)
    parser.add_argument(
        "--limit",
        type=parse_count,
        metavar="N",
        default=20,
        help="name so many files, the largest first (default: 20)",
    )


def restore(parser: argparse.ArgumentParser) -> None:
    """Add what ``restore`` takes."""
    segment(parser, nargs="?")
    placed(parser)
    parser.add_argument(
        "--all", action="store_true", help="all that was imported, below the folder -o"
    )
    parser.add_argument(
        "--to-origin", action="store_true", help="where it was imported from"
    )
    parser.add_argument(
        "--zst",
        action="store_true",
        help="as one zstd frame, as Codex reads it (.jsonl.zst)",
    )


def put(parser: argparse.ArgumentParser) -> None:
    """Add what ``put`` takes."""
    parser.add_argument("file", metavar="FILE", help="- is standard input")
    parser.add_argument("--tag", metavar="NAME", help="(default: the reference itself)")
    parser.add_argument(
        "--like", metavar="REF", help="what it is similar to, to store the difference"
    )
    bounded(parser)


def get(parser: argparse.ArgumentParser) -> None:
    """Add what ``get`` takes."""
    parser.add_argument("ref", metavar="REF", help="reference or tag")
    placed(parser)


def tag(parser: argparse.ArgumentParser) -> None:
    """Add what ``tag`` takes."""
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("ref", nargs="?", metavar="REF", help="reference or other tag")
    parser.add_argument("--delete", action="store_true", help="let go of NAME")


def ls(parser: argparse.ArgumentParser) -> None:
    """Add what ``ls`` takes."""
    parser.add_argument("--limit", type=parse_count, metavar="N", help="newest only")


def log(parser: argparse.ArgumentParser) -> None:
    """Add what ``log`` takes."""
    segment(parser)
    parser.add_argument(
        "--kind", action="append", metavar="KIND", help="may be repeated"
    )
    parser.add_argument("--since", type=parse_time, metavar="TIME", help="UTC")
    parser.add_argument("--until", type=parse_time, metavar="TIME", help="not included")
    parser.add_argument("--id", metavar="NATIVE", help="what the entry calls itself")
    parser.add_argument("--reverse", action="store_true", help="newest first")
    parser.add_argument("--limit", type=parse_count, metavar="N", help="this many")


def show(parser: argparse.ArgumentParser) -> None:
    """Add what ``show`` takes."""
    parser.add_argument(
        "entry", metavar="SEGMENT[INDEX]", help="an index below 0 counts from the end"
    )
    parser.add_argument("--body", action="store_true", help="write its bytes")
    placed(parser, default=None)


def fork(parser: argparse.ArgumentParser) -> None:
    """Add what ``fork`` takes."""
    segment(parser)
    parser.add_argument(
        "--at", type=parse_count, metavar="N", help="how many entries it inherits"
    )


def erase(parser: argparse.ArgumentParser) -> None:
    """Add what ``erase`` takes."""
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="SESSION|SEGMENT@INDEX|REF",
        help="id, key or imported path of a session; an entry; a reference or tag",
    )
    parser.add_argument(
        "--reason", metavar="TEXT", help="why; kept for good, so name nobody in it"
    )
    parser.add_argument(
        "--receipt", metavar="FILE", help="where to write what went (JSON)"
    )
    parser.add_argument(
        "--shared", action="store_true", help="what others need too goes as well"
    )
    parser.add_argument(
        "--with-forks",
        action="store_true",
        help="segments of other sessions that inherit entries go too",
    )
    parser.add_argument(
        "--payloads-only",
        action="store_true",
        help="entries stay, without bodies and payloads",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing")
    parser.add_argument(
        "--timeout",
        type=parse_duration,
        metavar="DURATION",
        default=1.0,
        help="wait so long for who writes what has to go (default: 1s)",
    )


def report(parser: argparse.ArgumentParser) -> None:
    """Add what ``report`` takes."""
    placed(parser)
    parser.add_argument(
        "--names", action="store_true", help="tell paths and keys of sessions"
    )
    parser.add_argument("--verify", action="store_true", help="check everything too")
    parser.add_argument(
        "--verified",
        metavar="FILE",
        help="tell what castore verify --json wrote into FILE",
    )
    parser.add_argument(
        "--limit",
        type=parse_count,
        metavar="N",
        default=20,
        help="list so many sessions, the largest first (default: 20)",
    )


def doctor(parser: argparse.ArgumentParser) -> None:
    """Add what ``doctor`` takes."""
    parser.add_argument(
        "--deep", action="store_true", help="compare the whole catalog with the files"
    )


def demo(parser: argparse.ArgumentParser) -> None:
    """Add what ``demo`` takes."""
    parser.add_argument("paths", nargs="*", metavar="PATH", help="transcripts")
    parser.add_argument("--keep", metavar="DIR", help="leave the store in this folder")


def completion(parser: argparse.ArgumentParser) -> None:
    """Add what ``completion`` takes."""
    parser.add_argument("shell", choices=SHELLS)


def help_(parser: argparse.ArgumentParser) -> None:
    """Add what ``help`` takes."""
    parser.add_argument(
        "topic", nargs="?", metavar="TOPIC", help="a command, json, exits, or metrics"
    )
