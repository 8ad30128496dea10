"""
Commits of another runtime, one JSON line each, made again in a store.

Spec: spec/runtime.md, "Lines".
"""

from __future__ import annotations

import base64
import binascii
import json
import os

from pathlib import Path

import attrs

from castore.errors import FormatError, NotFoundError, StorageError
from castore.records.checkpoint import (
    HydratedSessionCheckpoint,
    PersistedTurnState,
    PluginSessionSnapshot,
    ToolState,
)
from castore.records.fields import (
    TEXT,
    U64,
    Record,
    Type,
    Value,
    leaf,
    many,
    one,
    optional,
    refuse,
    required,
)
from castore.records.nodes import SessionNodeRecord
from castore.records.persisted import PersistedSessionConfig
from castore.records.usage import TokenLedgerEntry
from castore.runtime.commit import Append, RuntimeCommit, TurnStamp
from castore.runtime.store import RuntimeStore
from castore.store import Store


@attrs.frozen
class ReplayedFile:
    """
    A file of commits that is in the store now.

    Attributes:
        path: Absolute path.

        session_id: 32 hex digits.

        segment_id: 32 hex digits.

        entries: Entries of the segment.

        commits: Lines of the file.

        new_commits: How many of them this made.

        raw_bytes: Bytes of the file.
    """

    path: str
    session_id: str
    segment_id: str
    entries: int
    commits: int
    new_commits: int
    raw_bytes: int


def replay_file(store: Store, path: str | os.PathLike[str]) -> ReplayedFile:
    """
    Make the commits of the file at *path*, line by line, those that are new.

    All lines are of one session. A line that was replayed before is recognised
    by its place and content, so that a file may be replayed again, and grown.

    Raises:
        NotFoundError: There is no such file.

        FormatError: A line is no commit; names it. Those before it are made.

        ConflictError: The session holds other commits.
    """
    place = Path(path).absolute()
    try:
        data = place.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(what=f"no file {place}") from None
    except OSError as error:
        what = f"cannot read {place}: {error.strerror}"
        raise StorageError(what=what, errno=error.errno or 0, transient=False) from None
    runtime: RuntimeStore | None = None
    commits = new = 0
    for number, text in enumerate(data.splitlines(), 1):
        if not text.strip():
            continue
        where = f"{place.name}: line {number}"
        line = _decode(text, where)
        runtime = runtime or RuntimeStore(store, line.session_id)
        try:
            result = runtime.commit_runtime_state(line.commit(commits))
        except FormatError as error:
            raise FormatError(what=f"{where}: {error.what}") from None
        commits += 1
        new += not result.replayed
    if runtime is None:
        raise FormatError(what=f"{place.name}: no commits in it")
    segment = runtime.segment
    return ReplayedFile(
        str(place),
        segment.session_id.hex(),
        segment.id.hex(),
        segment.count,
        commits,
        new,
        len(data),
    )


def _decode(text: bytes, where: str) -> CommitLine:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise FormatError(what=f"{where}: no JSON") from None
    return CommitLine.decode(value, where)


# --- lines -------------------------------------------------------------------


def _base64(value: Value, where: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise refuse(where, "not base64") from None


def _base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()


_BASE64 = leaf(_base64, _base64_text)


def _usage(value: Value, where: str) -> TokenLedgerEntry:
    # The counts may stand beside source and model, not in an object of their own.
    if type(value) is not dict or "usage" in value:
        return TokenLedgerEntry.decode(value, where)
    names = ("source", "model")
    counts = {name: one for name, one in value.items() if name not in names}
    who = {name: value[name] for name in names if name in value}
    return TokenLedgerEntry.decode({**who, "usage": counts}, where)


_USAGE = Type(_usage, Record.encode, Record.unknown)


@attrs.frozen(kw_only=True, repr=False)
class CheckpointLine(Record):
    """The checkpoint in a line: bodies where they changed or not."""

    turn_state: PersistedTurnState = required(one(PersistedTurnState))
    tool_state: ToolState | None = optional(one(ToolState))
    plugin_snapshot: PluginSessionSnapshot | None = optional(one(PluginSessionSnapshot))
    plugin_snapshot_revision: int | None = optional(U64)
    execution_state: bytes | None = optional(_BASE64)

    def hydrated(self) -> HydratedSessionCheckpoint:
        """Return it as it is committed."""
        return HydratedSessionCheckpoint(
            turn_state=self.turn_state,
            tool_state=self.tool_state,
            plugin_snapshot=self.plugin_snapshot,
            plugin_snapshot_revision=self.plugin_snapshot_revision,
            execution_state=self.execution_state,
            rest=self.rest,
        )


@attrs.frozen(kw_only=True, repr=False)
class CommitLine(Record):
    """A commit as a line of JSON."""

    session_id: str = required(TEXT)
    config: PersistedSessionConfig = required(one(PersistedSessionConfig))
    append_nodes: tuple[SessionNodeRecord, ...] = required(many(one(SessionNodeRecord)))
    leaf_node_id: str | None = optional(TEXT, written=True)
    checkpoint: CheckpointLine = required(one(CheckpointLine))
    usage_deltas: tuple[TokenLedgerEntry, ...] = optional(many(_USAGE), ())

    def check(self, where: str) -> None:
        """Refuse members that no commit can hold."""
        if self.rest:
            raise refuse(where, f"{len(self.rest)} members that no commit holds")

    def commit(self, number: int) -> RuntimeCommit:
        """Return it as the commit behind *number* others of its session."""
        return RuntimeCommit(
            session_id=self.session_id,
            expected_head_revision=number,
            config=self.config,
            graph=Append(self.append_nodes, self.leaf_node_id),
            checkpoint=self.checkpoint.hydrated(),
            usage_deltas=self.usage_deltas,
            stamp=TurnStamp(f"line {number + 1}"),
        )
