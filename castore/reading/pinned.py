"""
Whether a store is what a note says, or goes on from it.

What the store says of itself is judged before; here it is compared with something
that was kept elsewhere, so that a consistent older state is found, and another
history.

Spec: spec/notes.md, "Checking a store against a note".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from castore import merkle
from castore.errors import CorruptionError
from castore.formats.head import Head
from castore.formats.refuse import FOREIGN, need, placed
from castore.formats.seal import check_pages, decode_page
from castore.formats.trees import tree_of
from castore.proofs.notes import Checkpoint, PublicKey, open_checkpoint, store_of
from castore.reading.findings import segment_place
from castore.reading.logs import Log
from castore.reading.survey import Survey


NOTE = "note"  # its place, as findings name it
MATCHES = "matches signed head"
EXTENDS = "extends pinned head"
ROLLED_BACK = "rolled back"
FORK = "fork evidence"

#: Returns the bytes of a blob that can be read, None of another.
ReadBlob = Callable[[bytes], bytes | None]


@attrs.frozen
class Pinned:
    """
    What somebody kept: a note, and whose signatures count.

    Attributes:
        note: Its bytes.

        keys: One of them must have signed it.
    """

    note: bytes
    keys: Sequence[PublicKey]


def judge_note(found: Survey, pinned: Pinned, read: ReadBlob) -> str | None:
    """
    Compare a store with a note; return how it stands to that, None if it does not.

    Takes as long as hashing the heads that the newest seal covers.

    Args:
        found: The store; takes findings.

        pinned: The note.

        read: Reads what a seal covers.

    Raises:
        UnsupportedError: The package ``cryptography`` is not there.
    """
    if not found.store:
        return None  # found to be no store
    try:
        with placed(NOTE):
            checkpoint = open_checkpoint(pinned.note, pinned.keys)
            named = store_of(checkpoint.origin)
            need(named == found.store, "a note about another log", FOREIGN)
    except CorruptionError as error:
        found.findings.refuse(error)
        return None
    return _Judge(found).judge(checkpoint, read)


class _Judge:
    """Compares what is found with what was signed."""

    def __init__(self, found: Survey) -> None:
        self._found = found
        self._heads = found.heads
        self._nodes: dict[bytes, dict[merkle.Position, bytes]] = {}

    def judge(self, checkpoint: Checkpoint, read: ReadBlob) -> str | None:
        """Report what differs; return how the store stands to the note."""
        store, count = self._found.store, checkpoint.count
        head = self._heads.get(store)
        if head is None:
            return None
        problem = self._compare(head, count, checkpoint.root)
        if problem:
            text = _recovery_text(self._found, checkpoint)
            self._add(problem[0], segment_place(store), problem[1] + text)
            return None
        index = max((at for at in self._found.log.seals if at < count), default=None)
        if index is not None:
            self._judge_seal(index, read)
        return MATCHES if count == head.count else EXTENDS

    def _add(self, verdict: str, where: str, what: str) -> None:
        self._found.findings.add(verdict, where, what)

    def _compare(self, head: Head, count: int, root: bytes) -> tuple[str, str] | None:
        """Return verdict and text if the log under *head* did not begin so."""
        if head.count < count:
            what = f"it has {head.count} entries, and had {count} when it was signed"
            return ROLLED_BACK, what
        now = head.root if count == head.count else self._root_at(head.segment, count)
        if now is None:
            what = "too damaged to be compared with the note"
            self._found.findings.notice(segment_place(head.segment), what)
        elif now != root:
            what = f"its first {count} entries are others than those that were signed"
            return FORK, what
        return None

    # --- what a seal covers --------------------------------------------------

    def _judge_seal(self, index: int, read: ReadBlob) -> None:
        """Compare all segments with what the seal at *index* covers."""
        where = segment_place(self._found.store, index)
        seal = self._found.log.seals[index]
        store = self._found.store
        pages = [page.blob.digest for page in seal.pages]
        if any(read(page) is None for page in pages):
            what = "the heads that it covers cannot be read"
            self._found.findings.notice(where, what)
            return
        try:
            with placed(where):
                check_pages(seal, (read(page) or b"" for page in pages), store)
        except CorruptionError as error:
            self._found.findings.refuse(error)
            return
        for page in pages:  # again: of a million segments few heads are kept
            for sealed in decode_page(read(page) or b"", store):
                problem = self._judge_head(sealed)
                if problem:
                    self._add(problem[0], segment_place(sealed.segment), problem[1])

    def _judge_head(self, sealed: Head) -> tuple[str, str] | None:
        head = self._heads.get(sealed.segment)
        if sealed.segment in self._found.log.deleted:
            head = self._found.log.deleted[sealed.segment][1]
            if head.count > sealed.count:
                return None  # what was signed of it went with it
        if head is None:
            what = "it was signed, is not there, and no entry says that it was deleted"
            return "unproven absence", what
        return self._compare(head, sealed.count, sealed.root)

    # --- roots of older counts -----------------------------------------------

    def _root_at(self, segment: bytes, count: int) -> bytes | None:
        """Return the root over the first entries of a log, None without them."""
        tree = tree_of(segment, self._found.store)
        log = self._found.logs[segment]
        if log.good < count:
            return None

        def read(positions: list[merkle.Position]) -> list[bytes]:
            return [self._subtree(log, tree, *position) for position in positions]

        return merkle.root(tree, merkle.peaks_at(count, read))

    def _subtree(self, log: Log, tree: merkle.Tree, level: int, index: int) -> bytes:
        start, stop = index << level, index + 1 << level
        owner = self._owner(log, stop - 1)
        known = self._nodes.get(owner.segment)
        if known is None:
            known = {(node[0], node[1]): node[2] for node in owner.nodes}
            self._nodes[owner.segment] = known
        if (level, index) in known:
            return known[level, index]
        hashes = [self._owner(log, at).hash_at(at) or b"" for at in range(start, stop)]
        return merkle.complete(tree, [*map(tree.leaf, hashes)])

    def _owner(self, log: Log, index: int) -> Log:
        """Return the log that owns entry *index*, which is good."""
        while index < log.fork_index and log.owner is not None:
            log = self._found.logs[log.owner]
        return log


def _recovery_text(found: Survey, checkpoint: Checkpoint) -> str:
    for index, recovery in found.log.recovered.items():
        if (recovery.count, recovery.root) == (checkpoint.count, checkpoint.root):
            return f"; entry {index} says that an older state was restored"
    return ""
