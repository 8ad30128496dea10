"""
What goes from one store to another: only what that one lacks.
"""

from __future__ import annotations

import os
import random

from pathlib import Path

import pytest

import castore

from castore.bundles import Sent, send, shared_segments, syncing
from castore.bundles.choosing import Wish
from castore.bundles.exporting import Exported
from castore.bundles.exporting import export_bundle as export
from castore.errors import ConflictError, GoneError, NotFoundError
from castore.verify import verify


class Two:
    """Two stores."""

    def __init__(self, root: Path) -> None:
        self.here = castore.open(root / "here", create=True)
        self.there = castore.open(root / "there", create=True)

    def send(self, *segments: castore.Segment, as_fork: bool = False) -> Sent:
        """Send *segments*."""
        ids = [segment.id for segment in segments]
        return send(self.here.engine, self.there.engine, ids, as_fork=as_fork)

    def same(self, *segments: castore.Segment) -> None:
        """Check that both have *segments* alike, and the other store is whole."""
        for segment in segments:
            other = self.there.segment(segment.id)
            assert list(segment.read()) == list(other.read())
            for entry in segment.entries():
                for reference in segment.references(entry):
                    data = self.here.get(reference.blob)
                    assert data == self.there.get(reference.blob)
        assert verify(self.there.engine.files.root).ok


@pytest.fixture
def two(tmp_path: Path) -> Two:
    """Two empty stores."""
    return Two(tmp_path)


def line(text: str, *payloads: castore.BlobRef) -> castore.NewEntry:
    """Return an entry."""
    refs = [castore.Reference("tool.out", each) for each in payloads]
    return castore.NewEntry("line", text.encode(), refs)


def test_only_what_is_missing_is_sent(two: Two) -> None:
    """Entries and payloads that the other has are not sent again."""
    large = two.here.put(os.urandom(500_000))
    log = two.here.create_session(then=[line("one", large)])
    first = two.send(log)
    log.append([line("two", large), line("three", two.here.put(b"new"))])

    second = two.send(log)
    third = two.send(log)

    assert first.size > 500_000
    assert second.size < 3_000
    assert second.taken is not None
    assert 2 == second.taken.entries
    assert Sent(0, None) == third
    two.same(log)


def test_a_payload_that_the_other_has_from_elsewhere(two: Two) -> None:
    """A payload that the other store has by itself is not sent."""
    data = os.urandom(300_000)
    two.there.put(data, tag="known")
    log = two.here.create_session(then=[line("one", two.here.put(data))])

    assert two.send(log).size < 3_000
    two.same(log)


def test_a_fork_of_what_the_other_has(two: Two) -> None:
    """Of a fork only its own entries go where the parent is known."""
    log = two.here.create_session(then=[line(f"{number}") for number in range(400)])
    two.send(log)
    fork = log.fork(300, then=[line("fork")])

    sent = two.send(fork)

    assert sent.taken is not None
    assert [2] == [segment.entries for segment in sent.taken.segments]
    two.same(log, fork)


def test_segments_that_both_have(two: Two) -> None:
    """What both name are the living segments that both have."""
    logs = [two.here.create_session(then=[line("one")]) for _ in range(3)]
    two.there.create_session()
    two.send(*logs[:2])
    two.here.segment(logs[0].id).delete()

    shared = shared_segments(two.here.engine, two.there.engine)

    assert [logs[1].id] == shared


def test_what_went_on_otherwise(two: Two) -> None:
    """A log that both have continued is refused, or becomes a fork there."""
    log = two.here.create_session(then=[line("one")])
    two.send(log)
    two.there.segment(log.id).append([line("there")])
    log.append([line("here"), line("too")])

    with pytest.raises(ConflictError):
        two.send(log)
    sent = two.send(log, as_fork=True)

    assert sent.taken is not None
    (taken,) = sent.taken.segments
    assert taken.fork is not None
    bodies = [body for _, body in two.there.segment(taken.fork).read()]
    assert [b"", b"one", b"", b"here", b"too"] == bodies


def test_an_older_one_sends_nothing(two: Two) -> None:
    """Where the other is further along there is nothing to send."""
    log = two.here.create_session(then=[line("one")])
    two.send(log)
    two.there.segment(log.id).append([line("there")])

    assert Sent(0, None) == two.send(log)
    back = send(two.there.engine, two.here.engine, [log.id])
    assert back.taken is not None
    assert 1 == back.taken.entries
    two.same(two.here.segment(log.id))


def test_what_was_deleted(two: Two) -> None:
    """A segment that is gone on either side is not sent."""
    log = two.here.create_session(then=[line("one")])
    two.send(log)
    two.there.segment(log.id).delete()
    log.append([line("two")])

    with pytest.raises(GoneError):
        two.send(log)
    two.here.segment(log.id).delete()
    with pytest.raises(GoneError):
        two.send(log)


def test_a_payload_that_goes_meanwhile(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other had a moment ago and has no more is sent after all."""
    ref = two.here.put(os.urandom(50_000))
    log = two.here.create_session(then=[line("one", ref)])
    tried: list[bool] = []

    def lying(
        engine: object, wishes: list[Wish], sink: object, *, has: object
    ) -> Exported:
        tried.append(has is not None)
        wrong = (lambda names: [ref.digest]) if has is not None else None
        return export(engine, wishes, sink, has=wrong)  # type: ignore[arg-type]

    monkeypatch.setattr(syncing, "export_bundle", lying)
    two.send(log)

    assert [True, False] == tried
    two.same(log)


def test_no_such_segment(two: Two) -> None:
    """A segment that is not there cannot be sent."""
    with pytest.raises(NotFoundError):
        send(two.here.engine, two.there.engine, [bytes(16)])


def test_back_and_forth_by_chance(two: Two) -> None:
    """Two stores that take turns have the same segments in the end."""
    dice = random.Random(10)
    stores = [two.here, two.there]
    ids = [two.here.create_session(then=[line("one")]).id]

    for turn in range(20):
        source, target = stores[turn % 2], stores[1 - turn % 2]
        for segment in dict.fromkeys(dice.choices(ids, k=2)):
            if source.engine.refresh().known.find_segment(segment) is None:
                continue
            log = source.segment(segment)
            log.append([line(f"{turn}", source.put(dice.randbytes(30)))])
            if dice.random() < 0.3:
                ids.append(log.fork(dice.randrange(1, log.count + 1)).id)
        known = source.engine.refresh().known
        mine = [each for each in ids if known.find_segment(each) is not None]
        send(source.engine, target.engine, mine)

    two.same(*(two.here.segment(each) for each in ids))
    assert len(ids) > 2
