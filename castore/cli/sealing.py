"""
``key``, ``seal``, ``recover``, ``evidence``: signed notes.
"""

from __future__ import annotations

import argparse

from collections.abc import Callable
from typing import TYPE_CHECKING

from castore.cli.checkup import KEY, facts_of, read_key, read_note
from castore.cli.exits import CommandError, Exit
from castore.cli.opening import open_store, read_store
from castore.cli.output import Output
from castore.cli.target import STDOUT, check_output, target
from castore.cli.text import count_text
from castore.errors import CorruptionError
from castore.proofs.notes import open_checkpoint
from castore.proofs.seals import Contradiction
from castore.sealing import KeyFile, Sealed, contradiction
from castore.sealing import recover as recover_store
from castore.sealing import seal as seal_store


if TYPE_CHECKING:
    from castore.store import Store


def key(options: argparse.Namespace, out: Output) -> Exit:
    """Make a key for the store, or print the public part of one."""
    file = KeyFile(options.file)
    if options.action == "show":
        public = file.read().public_key
    else:
        with read_store(options) as store:
            public = file.make(store.id)
    out.answer(str(public))
    out.object({"path": options.file, "key": str(public), "name": public.name})
    return Exit.DONE


def seal(options: argparse.Namespace, out: Output) -> Exit:
    """Sign a note about the store as it is."""
    return _sign(seal_store, options, out)


def recover(options: argparse.Namespace, out: Output) -> Exit:
    """Say in the store that an older state was restored, and sign a note."""
    return _sign(recover_store, options, out)


def _sign(
    make: Callable[[Store, KeyFile], Sealed], options: argparse.Namespace, out: Output
) -> Exit:
    check_output(options, "note")
    with open_store(options) as store:
        try:
            sealed = make(store, KeyFile(options.key))
        except CorruptionError as error:
            if error.verdict not in ("rolled back", "fork evidence"):
                raise
            what = f"not signed: {error}; after an honest restore: castore recover"
            raise CommandError(Exit.REFUSED, what) from error
    with target(options.output, force=options.force) as file:
        file.write(sealed.note)
    heads = count_text(sealed.head_count, "segment")
    if options.output != STDOUT:
        entries = count_text(sealed.checkpoint.count, "entry", "entries")
        out.line(f"signed: {heads}, {entries} of the store log")
    out.object(
        {
            "output": options.output,
            "origin": sealed.checkpoint.origin,
            "count": sealed.checkpoint.count,
            "root": sealed.checkpoint.root.hex(),
            "segments": sealed.head_count,
        }
    )
    return Exit.DONE


def evidence(options: argparse.Namespace, out: Output) -> Exit:
    """Show that two notes cannot both be of one history."""
    check_output(options, "evidence")
    public = read_key(options.key)
    notes = [read_note(name) for name in options.notes]
    counts = [open_checkpoint(note, [public]).count for note in notes]
    if counts[0] == counts[1]:
        found = contradiction(None, notes, public)
    else:
        with read_store(options) as store:
            found = contradiction(store, notes, public)
    if found is None:
        out.answer("the notes are of one history, as far as this store can tell")
        out.object({"output": None, **dict.fromkeys(_KEYS)})
        return Exit.DONE
    return _write(found, options, out)


_KEYS = ("proof", "says", "against", "states")


def _write(found: Contradiction, options: argparse.Namespace, out: Output) -> Exit:
    with target(options.output, force=options.force) as file:
        file.write(found.encode())
    out.object({"output": options.output, **facts_of(found, KEY)})
    return Exit.FINDINGS
