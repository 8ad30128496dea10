"""
The same work with what people use today: git, borg, restic, LangGraph's saver.

Each takes turns of `workload`, one durable step a turn, and gives one back. What
is not installed is left out and said so.
"""

import importlib.util
import io
import os
import shutil
import subprocess
import tarfile
import time

from pathlib import Path


class _Folder:
    """A folder that holds what the agent holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: dict[str, bytes] = {}

    def show(self, turn, log: bytes) -> None:
        """Let the folder be as at the end of *turn*."""
        wanted = {**turn.payloads, "log.jsonl": log}
        for name, data in wanted.items():
            if self._held.get(name) is not data:
                file = self.path / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        self._held = wanted


class _Peer:
    """A command that keeps states of a folder; *slots* are all that it keeps."""

    slots = None  # all

    def __init__(self, path: Path) -> None:
        self.path = path = path.absolute()
        path.mkdir()
        (path / "work").mkdir()
        self.folder = _Folder(path / "work")
        self.logs: dict[int, bytes] = {}
        self.seconds: list[float] = []
        self.environment = {
            **os.environ,
            "BORG_BASE_DIR": str(path),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "RESTIC_PASSWORD": "bench",
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        self.begin()

    def run(self, *command: str, folder: Path | None = None) -> bytes:
        return subprocess.run(
            command,
            cwd=folder or self.path / "work",
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ).stdout

    def take(self, turn) -> None:
        """Keep the state at the end of *turn*; the files' writing is not timed."""
        before = self.logs.get(turn.parent, b"")
        self.logs[turn.number] = before + turn.log()
        self.folder.show(turn, self.logs[turn.number])
        start = time.perf_counter()
        self.keep(turn)
        self.seconds.append(time.perf_counter() - start)

    def size(self) -> int:
        return sum(
            file.stat().st_size
            for file in (self.path / "kept").rglob("*")
            if file.is_file()
        )

    def pack(self) -> None:
        """Do what the peer calls its maintenance, if it has some."""


class Git(_Peer):
    """``git add`` and ``git commit``, then ``git gc``."""

    name = "git"

    def begin(self) -> None:
        git = f"--git-dir={self.path / 'kept'}"
        self.git = ("git", git, f"--work-tree={self.path / 'work'}")
        self.run("git", git, "init", "-q")
        self.run(*self.git, "config", "gc.auto", "0")
        self.run(*self.git, "config", "core.fsync", "all")
        self.commits: dict[int, str] = {}

    def keep(self, turn) -> None:
        if turn.parent is not None and turn.parent != turn.number - 1:
            self.run(*self.git, "update-ref", "HEAD", self.commits[turn.parent])
        self.run(*self.git, "add", "-A")
        user = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        self.run(*self.git, *user, "commit", "-q", "--allow-empty", "-m", "turn")
        commit = self.run(*self.git, "rev-parse", "HEAD").decode().strip()
        self.run(*self.git, "update-ref", f"refs/turns/{turn.number}", commit)
        self.commits[turn.number] = commit

    def pack(self) -> None:
        self.run(*self.git, "gc", "-q", "--prune=now")

    def restore(self, number: int) -> dict[str, bytes]:
        data = self.run(*self.git, "archive", self.commits[number])
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {
                item.name: tar.extractfile(item).read()
                for item in tar
                if item.isfile() and item.name != "log.jsonl"
            }


class Borg(_Peer):
    """``borg create`` with its defaults."""

    name = "borg"

    def begin(self) -> None:
        self.run("borg", "init", "-e", "none", str(self.path / "kept"))

    def keep(self, turn) -> None:
        self.run("borg", "create", f"{self.path / 'kept'}::{turn.number}", ".")

    def restore(self, number: int) -> dict[str, bytes]:
        return _extracted(self, "borg", "extract", f"{self.path / 'kept'}::{number}")


class Restic(_Peer):
    """``restic backup`` with its defaults."""

    name = "restic"

    def begin(self) -> None:
        self.run("restic", "init", "-q", "-r", str(self.path / "kept"))
        self.snapshots: dict[int, str] = {}

    def keep(self, turn) -> None:
        repository = ("restic", "-q", "-r", str(self.path / "kept"))
        self.run(*repository, "backup", "--tag", str(turn.number), ".")

    def restore(self, number: int) -> dict[str, bytes]:
        repository = ("restic", "-q", "-r", str(self.path / "kept"))
        options = ("--tag", str(number), "--target", ".")
        return _extracted(self, *repository, "restore", "latest", *options)


def _extracted(peer: _Peer, *command: str) -> dict[str, bytes]:
    target = peer.path / "out"
    target.mkdir()
    try:
        peer.run(*command, folder=target)
        files = [file for file in target.rglob("*") if file.is_file()]
        root = next(file for file in files if file.name == "log.jsonl").parent
        return {
            str(file.relative_to(root)): file.read_bytes()
            for file in files
            if file.name != "log.jsonl"
        }
    finally:
        shutil.rmtree(target)


class LangGraph:
    """LangGraph's SqliteSaver: the messages and the JSON state only."""

    name = "langgraph"
    slots = frozenset({"checkpoint.tool"})

    def __init__(self, path: Path) -> None:
        from langgraph.checkpoint.sqlite import SqliteSaver

        path.mkdir()
        self.path = path
        self._context = SqliteSaver.from_conn_string(str(path / "kept.sqlite"))
        self._saver = self._context.__enter__()
        self._configs: dict[int, dict] = {}
        self._messages: dict[int, list] = {}
        self.seconds: list[float] = []

    def take(self, turn) -> None:
        messages = [
            *self._messages.get(turn.parent, []),
            *(body.decode() for _, body in turn.entries),
        ]
        values = {"messages": messages, "tool": turn.payloads["checkpoint.tool"]}
        checkpoint = {
            "v": 4,
            "id": f"{turn.number:032}",
            "ts": "2026-01-01T00:00:00Z",
            "channel_values": values,
            "channel_versions": dict.fromkeys(values, turn.number + 1),
            "versions_seen": {},
        }
        empty = {"configurable": {"thread_id": "life", "checkpoint_ns": ""}}
        start = time.perf_counter()
        self._configs[turn.number] = self._saver.put(
            self._configs.get(turn.parent, empty), checkpoint, {}, {}
        )
        self.seconds.append(time.perf_counter() - start)
        self._messages[turn.number] = messages

    def pack(self) -> None:
        """There is none."""

    def size(self) -> int:
        return sum(file.stat().st_size for file in self.path.iterdir())

    def restore(self, number: int) -> dict[str, bytes]:
        found = self._saver.get_tuple(self._configs[number])
        return {"checkpoint.tool": found.checkpoint["channel_values"]["tool"]}


def installed() -> tuple[list[type], list[str]]:
    """Return the peers that are here, and the names of those that are not."""
    commands = [Git, Borg, Restic]
    here: list[type] = [peer for peer in commands if shutil.which(peer.name)]
    if importlib.util.find_spec("langgraph"):
        here.append(LangGraph)
    names = {peer.name for peer in here}
    return here, sorted({"git", "borg", "restic", "langgraph"} - names)
