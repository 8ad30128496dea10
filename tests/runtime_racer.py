"""
What a process does that commits to one session against another.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from runtimekit import commit, node

import castore

from castore.runtime import RuntimeStore


def race(root: Path, name: str, pipe: Connection) -> None:
    """
    Commit at each revision that comes through *pipe*, and answer what came of it:
    ``won``, ``lost``, or the name of an error that no caller should see.
    """
    with castore.open(root) as store:
        runtime = RuntimeStore(store, "s")
        while (expected := pipe.recv()) is not None:
            made = commit(expected, [node(f"{name}{expected}")], number=expected)
            try:
                runtime.commit_runtime_state(made)
            except castore.ConflictError as error:
                pipe.send("lost" if error.subject == "head" else error.subject)
            except Exception as error:  # noqa: BLE001 - reported, whatever it is
                pipe.send(type(error).__name__)
            else:
                pipe.send("won")
