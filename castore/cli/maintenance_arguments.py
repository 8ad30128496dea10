"""
The arguments of ``gc``, ``maintain`` and ``backup``.
"""

from __future__ import annotations

import argparse

from castore.cli.arguments import pack
from castore.cli.text import parse_count, parse_duration, parse_share, parse_size


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
    parser.add_argument(
        "--max-rewrite-bytes",
        type=parse_size,
        metavar="SIZE",
        help="write so much anew at most to delete; the rest goes another time",
    )
    parser.add_argument(
        "--prometheus",
        metavar="FILE",
        help="write what it came to, for a textfile collector (castore help metrics)",
    )


def gc(parser: argparse.ArgumentParser) -> None:
    """Add what ``gc`` takes."""
    _collecting(parser)
    parser.add_argument(
        "--max-duration",
        type=parse_duration,
        metavar="DURATION",
        help="begin no further part of the deletion after that",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="delete nothing; print the plan's hash"
    )
    parser.add_argument(
        "--plan", metavar="HASH", help="delete nothing that is not in this plan"
    )
    parser.add_argument(
        "--accept-lost",
        metavar="FILE",
        help="accept that what it lists is lost: the names that gc printed, one a line",
    )
    parser.add_argument(
        "--print-systemd",
        action="store_true",
        help="print a service and a timer that run this, and do nothing",
    )


def maintain(parser: argparse.ArgumentParser) -> None:
    """Add what ``maintain`` takes."""
    pack(parser)
    _collecting(parser)
    parser.add_argument(
        "--verify-share",
        type=parse_share,
        metavar="1/N",
        default=7,
        help="check so much, what was not checked for longest first (default: 1/7)",
    )


def backup(parser: argparse.ArgumentParser) -> None:
    """Add what ``backup`` takes."""
    parser.add_argument("folder", metavar="DEST", help="the backup's folder")
    parser.add_argument(
        "--link",
        action="store_true",
        help="let closed files be the store's own by another name, where that can be",
    )
