"""
The arguments of the commands about what is kept.
"""

from __future__ import annotations

import argparse

from castore.cli.text import parse_count, parse_duration


_ENTRY = "SEGMENT@INDEX"
_ENTRY_HELP = "or SEGMENT[INDEX]; an index below 0 counts from the end"


def policy(parser: argparse.ArgumentParser) -> None:
    """Add what ``policy`` takes."""
    parser.add_argument(
        "session",
        nargs="?",
        metavar="SESSION",
        help="whose policy; id, or a segment of it (default: of all that have none)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--group", metavar="ROLE", help="of payloads: roles up to the first dot"
    )
    what.add_argument(
        "--bodies",
        action="store_true",
        help="of the bodies of entries: without all of them no file is restored",
    )
    parser.add_argument(
        "--keep-newest",
        type=parse_count,
        metavar="N",
        help="keep what the newest N entries of each log have",
    )
    parser.add_argument(
        "--keep-days",
        type=parse_count,
        metavar="N",
        help="keep what entries of the last N days have",
    )
    parser.add_argument(
        "--keep-all", action="store_true", help="keep all, whatever holds for others"
    )
    parser.add_argument("--clear", action="store_true", help="take the policy away")


def pin(parser: argparse.ArgumentParser) -> None:
    """Add what ``pin`` takes."""
    parser.add_argument("entry", nargs="?", metavar=_ENTRY, help=_ENTRY_HELP)


def unpin(parser: argparse.ArgumentParser) -> None:
    """Add what ``unpin`` takes."""
    parser.add_argument("entry", metavar=_ENTRY, help=_ENTRY_HELP)


def explain(parser: argparse.ArgumentParser) -> None:
    """Add what ``explain`` takes."""
    parser.add_argument("target", metavar="REF", help=f"reference, tag, or {_ENTRY}")
    parser.add_argument(
        "--grace",
        type=parse_duration,
        metavar="DURATION",
        default=24 * 3600.0,
        help="of gc, to say when what is condemned goes (default: 24h)",
    )
    parser.add_argument(
        "--limit",
        type=parse_count,
        metavar="N",
        default=10,
        help="tell of so many entries each (default: 10)",
    )
