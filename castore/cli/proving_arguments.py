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
    what.add_argument(
        "--sealed", action="store_true", help="a head that the newest seal covers"
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
    parser.add_argument(
        "--note", metavar="FILE", help="a signed note to compare their heads with"
    )
    keyed(parser, "who must have signed the note")


def keyed(parser: argparse.ArgumentParser, text: str) -> None:
    """Add a public key."""
    parser.add_argument(
        "--key",
        metavar="PUB",
        help=f"{text}: a file with a public key, or the key itself",
    )


def key(parser: argparse.ArgumentParser) -> None:
    """Add what ``key`` takes."""
    parser.add_argument("action", choices=("new", "show"), help="what to do")
    parser.add_argument(
        "file", metavar="FILE", help="the private key; not in the store"
    )


def seal(parser: argparse.ArgumentParser) -> None:
    """Add what ``seal`` takes."""
    _private(parser)
    placed(parser)


def recover(parser: argparse.ArgumentParser) -> None:
    """Add what ``recover`` takes."""
    _private(parser)
    placed(parser)


def _private(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--key", metavar="FILE", required=True, help="the private key, as of key new"
    )


def evidence(parser: argparse.ArgumentParser) -> None:
    """Add what ``evidence`` takes."""
    parser.add_argument("notes", nargs=2, metavar="NOTE", help="signed notes")
    keyed(parser, "who signed both")
    placed(parser)
