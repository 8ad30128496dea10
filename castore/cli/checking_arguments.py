"""
The arguments of ``verify`` and ``repair``.
"""

from __future__ import annotations

import argparse

from castore.cli.text import parse_count, parse_duration, parse_part, parse_subset


LEVELS = ("structure", "stored", "contents", "chains", "all")


def verify(parser: argparse.ArgumentParser) -> None:
    """Add what ``verify`` takes."""
    parser.add_argument(
        "path",
        nargs="?",
        metavar="DIR|FILE",
        help="another store than the usual one, one file of a store, or a bundle",
    )
    parser.add_argument(
        "--level",
        choices=LEVELS,
        help="how deep: frames and heads; stored bytes; contents; chains and trees; "
        "all that entries name (default: all)",
    )
    some = parser.add_mutually_exclusive_group()
    some.add_argument(
        "--sample",
        type=parse_part,
        metavar="5%",
        help="look into so many frames, chosen by chance",
    )
    some.add_argument(
        "--subset",
        type=parse_subset,
        metavar="K/N",
        help="look into share K of N, which together are all frames",
    )
    some.add_argument(
        "--segment", metavar="ID", help="judge one segment and all that it needs"
    )
    some.add_argument(
        "--max-duration",
        type=parse_duration,
        metavar="DURATION",
        help="check files, what was not checked for longest first, until then",
    )
    parser.add_argument(
        "--seed", type=parse_count, metavar="N", help="choose the sample of this number"
    )
    parser.add_argument(
        "--catalog", action="store_true", help="compare the catalog with the files too"
    )
    parser.add_argument(
        "--against", metavar="NOTE", help="a signed note that was kept elsewhere"
    )
    parser.add_argument(
        "--key",
        metavar="PUB",
        help="who must have signed the note: a file with a public key, or the key",
    )
    parser.add_argument(
        "--jobs",
        type=parse_count,
        metavar="N",
        help="processes that read (default: one for each processor)",
    )


def repair(parser: argparse.ArgumentParser) -> None:
    """Add what ``repair`` takes."""
    parser.add_argument(
        "--from",
        dest="sources",
        action="append",
        default=[],
        metavar="SOURCE",
        help="a store, backup or file of frames to take good copies from; repeatable",
    )
