"""
``erase``: payloads and bodies removed for good, because somebody asked.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import open_store
from castore.cli.output import Output
from castore.cli.target import STDOUT, target
from castore.cli.text import count_text, size_text
from castore.digest import PREFIX, parse_digest
from castore.errors import CastoreError, FormatError, NotFoundError


if TYPE_CHECKING:
    from castore.erasing import Receipt, Target
    from castore.store import Store


_SHOWN_COUNT = 10  # of what stays, for people


def erase(options: argparse.Namespace, out: Output) -> Exit:
    """Erase what is named, or go on with an erasure that was stopped."""
    from castore.erasing import Wish, erase_in, finish

    _check(options)
    with open_store(options) as store, out.progress("erasing") as progress:
        begun = None if options.dry_run else _begun(store, options)
        receipt = None
        if begun is not None:
            receipt = finish(store.engine, begun, timeout_s=options.timeout)
        if receipt is None:
            writer = _Writer(options.receipt, replaces=begun is not None)
            wish = Wish(
                tuple(_target(store, name) for name in options.targets),
                options.shared,
                options.with_forks,
                options.payloads_only,
            )
            receipt = erase_in(
                store.engine,
                wish,
                reason=options.reason or "",
                dry_run=options.dry_run,
                timeout_s=options.timeout,
                begun=writer.write,
                progress=progress.update,
            )
        else:
            writer = _Writer(options.receipt, replaces=True)
        if not options.dry_run:
            writer.write(receipt)
    for line in _lines(receipt, options):
        out.line(line)
    out.object(receipt.to_json())
    return Exit.DONE


def _check(options: argparse.Namespace) -> None:
    if options.dry_run:
        return
    if options.reason is None or options.receipt is None:
        what = "erase wants --reason and --receipt, or --dry-run"
        raise CommandError(Exit.USAGE, what)
    if options.receipt == STDOUT:
        what = "--receipt wants a file: it is what a stopped erasure goes on from"
        raise CommandError(Exit.USAGE, what)


class _Writer:
    """Writes receipts to one file, each whole, in place of the one before."""

    def __init__(self, path: str, *, replaces: bool) -> None:
        self._path = path
        self._replaces = replaces

    def write(self, receipt: Receipt) -> None:
        """Write *receipt*."""
        with target(self._path, force=self._replaces) as file:
            file.write(json.dumps(receipt.to_json(), indent=1).encode() + b"\n")
        self._replaces = True


def _begun(store: Store, options: argparse.Namespace) -> Receipt | None:
    """
    Return the receipt of the erasure that was begun and not finished, if any.

    Raises:
        CommandError: The file is something else.
    """
    from castore.erasing import Receipt

    path = Path(options.receipt)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        receipt = Receipt.from_json(json.loads(data))
    except (ValueError, FormatError):
        raise _is_other(path, "is no receipt") from None
    if receipt.store != store.id.hex():
        raise _is_other(path, "is a receipt of another store")
    if receipt.state != "begun":
        raise _is_other(path, "is the receipt of an erasure that is done")
    is_other = receipt.reason != options.reason
    is_other |= len(options.targets) != len(receipt.targets)
    for name in options.targets:
        with contextlib.suppress(CastoreError):  # it may be gone, with its names
            is_other |= str(_target(store, name)) not in receipt.targets
    if is_other:
        raise _is_other(path, "is the receipt of another erasure, which was begun")
    return receipt


def _is_other(path: Path, what: str) -> CommandError:
    return CommandError(Exit.REFUSED, f"{path} is there and {what}; name another file")


def _target(store: Store, name: str) -> Target:
    """Return what *name* means: a reference, an entry, a session, or a tag."""
    from castore.erasing import target_of
    from castore.erasing.scope import PAYLOAD, SESSION, Target
    from castore.importer import find_segment

    if name.startswith(PREFIX):
        return Target(PAYLOAD, parse_digest(name))
    found = re.fullmatch(r"(.+)@(-?\d+)", name)
    with contextlib.suppress(NotFoundError):
        if found is not None:
            segment = find_segment(store, found[1], exact=True)
            try:
                return target_of((segment, int(found[2])))
            except IndexError as error:
                raise CommandError(Exit.FAILED, f"{name}: {error}") from error
    if re.fullmatch(r"[0-9a-f]{32}", name):
        session = store.engine.refresh().known.find_session(bytes.fromhex(name))
        if session is not None:
            return Target(SESSION, session.id)
    tagged = store.tags().get(name)
    try:
        return Target(SESSION, find_segment(store, name, exact=True).session_id)
    except NotFoundError:
        if tagged is None:
            what = f"no session, tag or reference {name!r}; an entry is SEGMENT@INDEX"
            raise NotFoundError(what=what) from None
        return Target(PAYLOAD, tagged.digest)


def _lines(receipt: Receipt, options: argparse.Namespace) -> Iterator[str]:
    """Yield what was erased, for people."""
    size = sum(each.size or 0 for each in receipt.erased)
    payloads = count_text(len(receipt.erased), "payload")
    would = options.dry_run
    yield f"{'would erase' if would else 'erased'}: {payloads}, {size_text(size)} raw"
    for name in receipt.targets:
        yield f"of: {name}"
    if receipt.segments:
        segments = count_text(len(receipt.segments), "segment")
        yield f"{'would delete' if would else 'deleted'}: {segments}"
    for segment in receipt.forks:
        yield f"inherits of it: segment {segment}"
    for name in receipt.untagged:
        yield f"{'would untag' if would else 'untagged'}: {name}"
    for each in receipt.kept[:_SHOWN_COUNT]:
        others = count_text(each.used_count, "other")
        yield f"kept: {each.ref}, needed by {each.used_by[0]} ({others} in all)"
    if len(receipt.kept) > _SHOWN_COUNT:
        yield f"kept: {len(receipt.kept) - _SHOWN_COUNT:,} more; see the receipt"
    if receipt.kept:
        yield "what others need stays unless --shared is said"
    if not would:
        yield f"by entry {receipt.entry} of the store log; receipt: {options.receipt}"
        for what in receipt.not_reached:
            yield f"not reached: {what}"
