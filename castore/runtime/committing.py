"""
A commit compared with the fold, and made into an entry.

Spec: spec/runtime.md, "Commits".
"""

from __future__ import annotations

from collections.abc import Callable

from castore.digest import parse_digest
from castore.engine.expect import Expect
from castore.errors import ConflictError, FormatError, NotFoundError
from castore.formats.entry import BlobRef, Reference
from castore.records.persisted import RuntimeCommitResult
from castore.runtime.bodies import (
    ARCHIVE_ROLE,
    MANIFEST_ROLE,
    NODE_ROLE,
    SNAPSHOT_ROLES,
    CommitBody,
    StampBody,
)
from castore.runtime.commit import ReplaceFull, RuntimeCommit
from castore.runtime.encoding import Encoded, change_of
from castore.runtime.fold import Fold
from castore.store import Store


#: Takes a payload in, like another.
Put = Callable[[bytes, BlobRef | None], BlobRef]


def replay_of(
    fold: Fold, commit: RuntimeCommit, encoded: Encoded
) -> RuntimeCommitResult | None:
    """
    Return the result of the commit that had this stamp before, None if none had.

    Raises:
        ConflictError: ``key``: it had other content.
    """
    made = fold.stamps.get(commit.stamp.turn_id) if commit.stamp is not None else None
    if made is None:
        return None
    if made.content != encoded.content:
        raise ConflictError(
            what="the turn was committed with other content",
            subject="key",
            expected=encoded.content,
            actual=made.content,
        )
    # What both have in common makes the manifest, so it is the same.
    return RuntimeCommitResult(
        made.head_revision, made.checkpoint_ref, encoded.manifest, replayed=True
    )


def check_commit(
    store: Store, fold: Fold, commit: RuntimeCommit, encoded: Encoded
) -> None:
    """
    Refuse a commit that does not fit the session as it is.

    Raises:
        ConflictError: ``head`` or ``node``.

        NotFoundError: The leaf is no node, or hidden.
    """
    expected, actual = commit.expected_head_revision, fold.head_revision
    wanted = 0 if expected is Expect.ABSENT else expected
    if expected is not Expect.ANY and wanted != actual:
        raise ConflictError(
            what=f"session {commit.session_id} moved on",
            subject="head",
            expected=wanted,
            actual=actual,
        )
    named = {node.node_id for node in commit.graph.nodes}
    leaf = commit.graph.leaf_node_id
    there = leaf is None or leaf in named
    if not isinstance(commit.graph, ReplaceFull):
        _check_nodes(store, fold, commit, encoded)
        there = there or fold.visible(leaf) is not None
    if not there:
        what = "the leaf is no node of the graph, or hidden; heal_orphaned_leaf helps"
        raise NotFoundError(what=what)


def _check_nodes(
    store: Store, fold: Fold, commit: RuntimeCommit, encoded: Encoded
) -> None:
    """Refuse ids that are taken; what was hidden may come back as it was."""
    for node, data in zip(commit.graph.nodes, encoded.nodes, strict=True):
        there = fold.nodes.get(node.node_id)
        if there is None:
            continue
        same = store.engine.read_blob(there.blob.digest) == data
        if not (there.is_hidden and same):
            raise ConflictError(
                what="a node of that id is there already",
                subject="node",
                expected="absent",
                actual="hidden, with other content" if there.is_hidden else "there",
            )


def references(
    store: Store, fold: Fold, commit: RuntimeCommit, encoded: Encoded, put: Put
) -> list[Reference]:
    """
    Put what *commit* stores and return all that its entry references.

    A snapshot is like the one that its slot held before.

    Raises:
        NotFoundError: What is carried forward, or an archive, is not there.
    """
    before = fold.checkpoint
    manifest = put(encoded.manifest_data, before.get(MANIFEST_ROLE))
    refs = [Reference(MANIFEST_ROLE, manifest)]
    known = {str(ref): ref for ref in before.values()}
    for slot, role in SNAPSHOT_ROLES.items():
        if slot in encoded.bodies:
            refs.append(Reference(role, put(encoded.bodies[slot], before.get(role))))
        elif slot in encoded.carried:
            name = encoded.carried[slot]
            refs.append(Reference(role, known.get(name) or store.resolve(name)))
    refs += [Reference(NODE_ROLE, put(data, None)) for data in encoded.nodes]
    archives = {name for node in commit.graph.nodes for name in node.archives()}
    refs += [
        Reference(ARCHIVE_ROLE, store.resolve(name))
        for name in sorted(archives)
        if _is_name(name)
    ]
    return refs


def _is_name(text: str) -> bool:
    """Return whether *text* names a blob; others' archives cannot be followed."""
    try:
        parse_digest(text)
    except FormatError:
        return False
    return True


def body_of(fold: Fold, commit: RuntimeCommit, encoded: Encoded) -> CommitBody:
    """Return the body of the entry that *commit* becomes behind *fold*."""
    stamp = None
    if commit.stamp is not None:
        stamp = StampBody(turn_id=commit.stamp.turn_id, content=encoded.content)
    return CommitBody(
        session_id=commit.session_id,
        head_revision=fold.head_revision + 1,
        config=commit.config,
        change=change_of(commit),
        nodes=tuple((node.node_id, node.parent_node_id) for node in commit.graph.nodes),
        leaf_node_id=commit.graph.leaf_node_id,
        usage=commit.usage_deltas,
        stamp=stamp,
        lease=commit.lease.fencing if commit.lease is not None else None,
    )
