"""
Guards against what happened to others, taken away: each is away while it is entered.
"""

from __future__ import annotations

import contextlib
import importlib
import unicodedata

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import attrs
import bugs

from castore import CorruptionError, StorageError, Store
from castore.catalog import Overlay
from castore.engine import Engine
from castore.engine.logs import Logs
from castore.engine.state import State
from castore.formats.file import file_name
from castore.gc import RoleCount
from castore.reading.survey import Survey
from castore.storage import Files


gc = importlib.import_module("castore.gc")
reports = importlib.import_module("castore.collecting.report")
rewrite = importlib.import_module("castore.packing.rewrite")
recovery = importlib.import_module("castore.engine.recovery")
needs = importlib.import_module("castore.engine.needs")
commits = importlib.import_module("castore.engine.commits")
upkeep = importlib.import_module("castore.engine.upkeep")
patch, nothing = mock.patch.object, bugs.nothing


@contextlib.contextmanager
def unreadable_is_passed_over() -> Iterator[None]:
    """Whoever reads frames for gc goes on behind what cannot be read."""

    def lenient(reading: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def readable(*args: Any) -> Iterator[Any]:
            with contextlib.suppress(CorruptionError):
                yield from reading(*args)

        return readable

    with (
        patch(Logs, "stored_runs", lenient(Logs.stored_runs)),
        patch(needs, "listed_frames", lenient(needs.listed_frames)),
        patch(Survey, "raise_faults", nothing),
    ):
        yield


@contextlib.contextmanager
def one_session_is_the_root() -> Iterator[None]:
    """The roots are those of the session that was used last."""
    segments = Overlay.segments

    def some(self: Overlay) -> Iterator[Any]:
        yield next(segments(self))

    with patch(Overlay, "segments", some), patch(gc, "_check_agreement", nothing):
        yield


@contextlib.contextmanager
def condemned_for_ever() -> Iterator[None]:
    """What was condemned once stays so, whatever becomes of it."""
    condemned: dict[bytes, int] = {}

    def condemn(_: Any, blobs: dict[bytes, int]) -> None:
        condemned.update({**blobs, **condemned})

    with (
        patch(upkeep.Upkeep, "condemn", condemn),
        patch(upkeep.Upkeep, "condemned", lambda _: dict(condemned)),
    ):
        yield


def paths_are_compared() -> AbstractContextManager[object]:
    """Files whose path is none of those that are wanted are removed."""

    def removing(engine: Engine) -> None:
        with engine.state.locked():
            known = rewrite.members(engine.view, engine.state.opened, engine.store)
        wanted = {engine.files.root.resolve() / file_name(file) for file in known}
        for name in engine.files.list("files"):
            path = engine.files.root / "files" / name
            if path not in wanted:
                path.unlink()

    return patch(gc, "remove_dropped", removing)


@contextlib.contextmanager
def names_are_guessed() -> Iterator[None]:
    """Any 32 bytes are taken for a name."""
    since = gc._named_since

    def guessing(engine: Engine, marks: Any) -> Iterator[bytes]:
        yield from since(engine, marks)
        for place in engine.view.known.places():
            if place.size == 32:
                yield engine.read_blob(place.digest)

    with patch(gc, "_named_since", guessing):
        yield


@contextlib.contextmanager
def old_plan_goes_on() -> Iterator[None]:
    """What a collection had found is what the next one goes on with."""
    first: list[Any] = []
    mark = gc.mark

    def marking(*args: Any) -> Any:
        first.append(mark(*args))
        return first[0]

    with patch(gc, "mark", marking), bugs.collected_beside_writers():
        yield


@contextlib.contextmanager
def keys_are_joined() -> Iterator[None]:
    """A session is found by the path that its key makes."""

    def find(self: Overlay, namespace: str, text: str) -> Any:
        wanted = f"{namespace}/{text}"
        rows = [row for row in self.sessions() if "/".join(row.key or ()) == wanted]
        return rows[0] if rows else None

    with patch(Overlay, "find_session_by_key", find):
        yield


def tags_are_normalised() -> AbstractContextManager[object]:
    """A tag is found by what its name looks like."""
    untag = Store.untag

    def untagging(self: Store, name: str) -> None:
        for each in self.tags():
            if unicodedata.normalize("NFC", each) == unicodedata.normalize("NFC", name):
                untag(self, each)

    return patch(Store, "untag", untagging)


def torn_is_damage() -> AbstractContextManager[object]:
    """A journal with something torn behind its mark is refused."""
    error = CorruptionError(what="torn", verdict="torn tail", where="")
    return patch(recovery, "frames_behind", mock.Mock(side_effect=error))


@contextlib.contextmanager
def written_behind_what_is_there() -> Iterator[None]:
    """What a failed write left stays, and the next goes behind it."""
    write = Files.write

    def appending(self: Files, fd: int, data: bytes | memoryview, offset: int) -> None:
        write(self, fd, data, max(offset, self.size(fd)) if offset > 188 else offset)

    with patch(State, "cut_back", nothing), patch(Files, "write", appending):
        yield


def any_revision_will_do() -> AbstractContextManager[object]:
    """What a commit expects is not compared."""
    return mock.patch("castore.engine.building.check_revision", nothing)


def answers_are_forgotten() -> AbstractContextManager[object]:
    """A commit's key is not looked up."""
    return mock.patch("castore.engine.commits.replay_of", nothing)


@contextlib.contextmanager
def synced_again() -> Iterator[None]:
    """A sync that failed is called again, and believed."""
    write_group = commits.Committer._write_group

    def writing(self: Any, *args: Any, **options: Any) -> None:
        files = self._state.files
        sync = files.sync

        def twice(fd: int) -> None:
            try:
                sync(fd)
            except StorageError:
                sync(fd)

        with patch(files, "sync", twice):
            write_group(self, *args, **options)

    with patch(commits.Committer, "_write_group", writing):
        yield


@contextlib.contextmanager
def missing_is_counted() -> Iterator[None]:
    """References are counted, whether they lead anywhere or not."""
    by_role = reports._by_role

    def counting(marks: Any, due: Any) -> dict[str, RoleCount]:
        found = by_role(marks, due)
        return {
            group: attrs.evolve(each, retained=each.retained + len(marks.explained))
            for group, each in found.items()
        }

    with patch(reports, "_by_role", counting):
        yield
