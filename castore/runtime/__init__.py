"""
A runtime's sessions: graph, checkpoint, ledger and metadata over one log.

`RuntimeStore` commits a session's state, each commit one entry of the session's
segment, and reads it back by folding the log from its newest snapshot on.
`RuntimeSession` is what an agent's loop holds between commits.

Spec: spec/runtime.md.
"""

from castore.runtime.clearing import GcReport, VacuumReport
from castore.runtime.commit import (
    ActivePath,
    Append,
    FullGraph,
    ReplaceFull,
    RuntimeCommit,
    TurnStamp,
    Unchanged,
    UnsupportedReadScopeError,
)
from castore.runtime.lease import LeaseOwner, LeaseTimings, Process, SessionLease
from castore.runtime.replaying import ReplayedFile, replay_file
from castore.runtime.session import Residency, RuntimeSession
from castore.runtime.store import RuntimeStore


__all__ = [
    "ActivePath",
    "Append",
    "FullGraph",
    "GcReport",
    "LeaseOwner",
    "LeaseTimings",
    "Process",
    "ReplaceFull",
    "ReplayedFile",
    "Residency",
    "RuntimeCommit",
    "RuntimeSession",
    "RuntimeStore",
    "SessionLease",
    "TurnStamp",
    "Unchanged",
    "UnsupportedReadScopeError",
    "VacuumReport",
    "replay_file",
]
