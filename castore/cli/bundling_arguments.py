"""
The arguments of the commands about bundles.
"""

from __future__ import annotations

import argparse
import re

from castore.cli.arguments import placed


def parse_range(text: str) -> tuple[int, int | None]:
    """Return start and stop from ``10:20``, ``10:`` or ``:20``."""
    found = re.fullmatch(r"(\d*):(\d*)", text, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; say 10:20 or 10:")
    return int(found[1] or 0), int(found[2]) if found[2] else None


def export(parser: argparse.ArgumentParser) -> None:
    """Add what ``export`` takes."""
    parser.add_argument(
        "targets",
        nargs="+",
        metavar="SEGMENT|SESSION",
        help="segment: id, prefix of it, or imported path; session, all of it: id, key",
    )
    placed(parser)
    parser.add_argument(
        "--range",
        type=parse_range,
        metavar="A:B",
        help="of one segment the entries A up to B only; the rest stays provable",
    )
    parser.add_argument(
        "--redact",
        action="append",
        metavar="ROLE",
        help="leave out payloads of this role, or group of roles; may be repeated",
    )
    parser.add_argument(
        "--redact-bodies",
        action="store_true",
        help="leave out the bodies of entries, but for start entries",
    )


def _exchange(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "targets",
        nargs="*",
        metavar="SEGMENT|SESSION",
        help="as for export (default: the segments that both stores have)",
    )
    parser.add_argument(
        "--as-fork",
        action="store_true",
        help="let become a fork what went on otherwise where it goes",
    )


def push(parser: argparse.ArgumentParser) -> None:
    """Add what ``push`` takes."""
    parser.add_argument("other", metavar="DEST", help="folder of the other store")
    _exchange(parser)


def pull(parser: argparse.ArgumentParser) -> None:
    """Add what ``pull`` takes."""
    parser.add_argument("other", metavar="SOURCE", help="folder of the other store")
    _exchange(parser)
