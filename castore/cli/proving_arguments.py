"""
The arguments of the commands about proofs.
"""

from __future__ import annotations

import argparse

from castore.cli.arguments import placed, segment
from castore.cli.text import parse_count


def prove(parser: argparse.ArgumentParser) -> None:
    """Add what ``prove`` takes."""
    segment(parser)
    parser.add_argument(
        "index",
        nargs="?",
        type=int,
        metavar="INDEX",
        help="of the entry; below 0 from the end",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--consistency",
        nargs=2,
        type=parse_count,
        metavar=("A", "B"),
        help="that the log of A entries is the beginning of the one of B; 0: of all",
    )
    what.add_argument("--origin", action="store_true", help="where a fork comes from")
    what.add_argument(
        "--range",
        nargs=3,
        metavar=("REF", "START", "STOP"),
        help="bytes of a payload above 8 MiB that the entry names, in whole MiB",
    )
    parser.add_argument(
        "--at",
        type=parse_count,
        metavar="N",
        help="under the root of the log's first N entries (default: of all)",
    )
    parser.add_argument(
        "--data", metavar="FILE", help="with --range: where to write the bytes"
    )
    placed(parser)


def check(parser: argparse.ArgumentParser) -> None:
    """Add what ``check`` takes."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="proofs")
    parser.add_argument(
        "--data", metavar="FILE", help="the bytes of the range that is proven"
    )
