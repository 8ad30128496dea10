"""
Import of packed rollouts: their lines come in, as far as they can be had.
"""

from __future__ import annotations

import errno
import io

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import zstandard

from agents import codex, name_of, rollout_name
from clikit import Shop
from hypothesis import strategies as st

import castore
import castore.compress

from castore.compress import Unpacking, is_stream
from castore.importer import (
    ImportedFile,
    find_segment,
    import_file,
    import_paths,
    restore,
)


CONTENT = codex(1, 12, text_size=4000)
PLAIN = rollout_name(1)
PACKED = f"{PLAIN}.zst"


def packed(data: bytes) -> bytes:
    """Return *data* as Codex packs it: one frame that states no size."""
    compressor = zstandard.ZstdCompressor(3).compressobj()
    return compressor.compress(data) + compressor.flush()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """Return a new store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


def restored(store: castore.Store, done: ImportedFile) -> bytes:
    """Return what is given back for an imported file."""
    out = io.BytesIO()
    restore(store, store.segment(done.segment_id), out)
    return out.getvalue()


def unpacked(data: bytes, cut: int = 1000) -> tuple[bytes, str]:
    """Return what *data* holds and how it ended, fed *cut* bytes at a time."""
    chunks = [data[at : at + cut] for at in range(0, len(data), cut)]
    unpacking = Unpacking(chunks)
    return b"".join(unpacking), unpacking.state


# --- the import --------------------------------------------------------------


def test_the_content_comes_in(store: castore.Store, tmp_path: Path) -> None:
    """Its lines are the entries, found by the plain name and by the packed one."""
    path = tmp_path / PACKED
    path.write_bytes(packed(CONTENT))
    done = import_file(store, path, now_ms=1)
    again = import_file(store, path, now_ms=1)
    names = [f"codex:{name_of(1)}", str(path), str(tmp_path / PLAIN)]

    assert CONTENT == restored(store, done)
    assert ("codex", "whole", str(path)) == (done.format, done.packed, done.path)
    assert CONTENT.count(b"\n") == done.entries == done.new_entries
    assert (done.segment_id, 0) == (again.segment_id, again.new_entries)
    assert {done.segment_id} == {find_segment(store, name).id.hex() for name in names}


def test_a_rollout_that_was_packed_since(store: castore.Store, tmp_path: Path) -> None:
    """The packed file goes on where the plain one was, and back."""
    (tmp_path / PLAIN).write_bytes(CONTENT)
    first = import_file(store, tmp_path / PLAIN, now_ms=1)
    (tmp_path / PLAIN).unlink()
    (tmp_path / PACKED).write_bytes(packed(CONTENT + b"{}\n"))
    second = import_file(store, tmp_path / PACKED, now_ms=1)

    assert first.segment_id == second.segment_id
    assert (1, None, "whole") == (second.new_entries, first.packed, second.packed)


def test_the_plain_file_wins(store: castore.Store, tmp_path: Path) -> None:
    """Where both are there the plain one is taken, in a folder and by name."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    (folder / PLAIN).write_bytes(CONTENT)
    (folder / PACKED).write_bytes(packed(b"{}\n"))
    (folder / "other.jsonl.zst").write_bytes(packed(b"{}\n"))
    done = list(import_paths(store, [folder, folder / PACKED], now_ms=1))

    assert ["other.jsonl.zst", PLAIN, PLAIN] == [Path(file.path).name for file in done]


@pytest.mark.parametrize("data", [b"", b"\x28\xb5\x2f", b"{}\n", CONTENT])
def test_what_is_only_called_so(
    store: castore.Store, tmp_path: Path, data: bytes
) -> None:
    """A file that is no zstd is kept as it is, whatever its name; also the reverse."""
    (tmp_path / PACKED).write_bytes(data)
    (tmp_path / "x.jsonl").write_bytes(packed(CONTENT))
    first = import_file(store, tmp_path / PACKED, now_ms=1)
    second = import_file(store, tmp_path / "x.jsonl", now_ms=1)

    assert (data, None) == (restored(store, first), first.packed)
    assert packed(CONTENT) == restored(store, second)


def test_a_torn_one_is_not_fatal(store: castore.Store, tmp_path: Path) -> None:
    """What could be had of it is kept and counted; once it is whole, it goes on."""
    path = tmp_path / PACKED
    path.write_bytes(packed(CONTENT)[:-4000])
    torn = import_file(store, path, now_ms=1)
    part = restored(store, torn)
    path.write_bytes(packed(CONTENT))
    whole = import_file(store, path, now_ms=1)

    assert ("torn", "whole") == (torn.packed, whole.packed)
    assert 0 < len(part) < len(CONTENT)
    assert CONTENT.startswith(part)
    assert torn.segment_id == whole.segment_id
    assert CONTENT == restored(store, whole)


def test_no_room_to_unpack(
    store: castore.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full temporary folder fails this file, as what may work later."""
    (tmp_path / PACKED).write_bytes(packed(CONTENT))

    def full(_: Unpacking) -> Iterator[bytes]:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(Unpacking, "__iter__", full)
    with pytest.raises(castore.StorageError):
        import_file(store, tmp_path / PACKED, now_ms=1)


# --- unpacking ---------------------------------------------------------------


def test_several_frames() -> None:
    """Frames behind each other are one content; frames to be skipped count nothing."""
    skipped = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    data = skipped + packed(b"one") + packed(b"") + skipped + packed(b"two")

    assert (b"onetwo", "whole") == unpacked(data)
    assert is_stream(data)
    assert (b"one", "damaged") == unpacked(packed(b"one") + b"more")


@hypothesis.given(st.integers(0, 2000), st.integers(1, 50))
def test_cut_anywhere(stop: int, cut: int) -> None:
    """A file cut anywhere gives a beginning of the content and says that it is cut."""
    whole = packed(CONTENT[:3000])
    stop = min(stop, len(whole) - 1)
    part, state = unpacked(whole[:stop], cut)

    assert CONTENT.startswith(part)
    assert state == ("torn" if stop else "whole")


@hypothesis.given(st.integers(0), st.integers(0, 7), st.binary(max_size=30))
def test_nothing_is_fatal(at: int, bit: int, more: bytes) -> None:
    """Flipped bits, and anything at all, end in a state and never in an error."""
    data = bytearray(packed(CONTENT[:3000]))
    data[at % len(data)] ^= 1 << bit
    for text in (bytes(data), more, bytes(data[:4]) + more):
        _, state = unpacked(text)

        assert state in {"whole", "torn", "damaged", "over"}


def test_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would grow out of all proportion is stopped, piece by small piece."""
    monkeypatch.setattr(castore.compress, "FREE_SIZE", 5_000_000)
    bomb = packed(b"\0" * 50_000_000)
    unpacking = Unpacking([bomb])
    sizes = [len(piece) for piece in unpacking]

    assert len(bomb) < 5000
    assert "over" == unpacking.state
    assert max(sizes) <= castore.compress.PIECE_SIZE
    assert 4_000_000 < sum(sizes) <= 5_000_000


def test_a_window_beyond_the_bound() -> None:
    """A frame that would take more memory than there may be is refused."""
    options = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=options).compressobj()
    data = compressor.compress(CONTENT) + compressor.flush()

    assert (b"", "damaged") == unpacked(data)


# --- the command -------------------------------------------------------------


def test_restore_packed(tmp_path: Path) -> None:
    """``--zst`` writes what Codex reads: one frame, no dictionary, a small window."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.write(PLAIN, CONTENT))
    shop.do("restore", tmp_path / PLAIN, "--zst", "-o", tmp_path / "out.zst")
    data = (tmp_path / "out.zst").read_bytes()
    facts = zstandard.get_frame_parameters(data)

    assert CONTENT == zstandard.ZstdDecompressor().decompressobj().decompress(data)
    assert (CONTENT, "whole") == unpacked(data)
    assert facts.window_size <= 1 << 27
    assert 0 == facts.dict_id


def test_what_the_command_says(tmp_path: Path) -> None:
    """A file that is unpacked in part is said to be, and is no failure."""
    shop = Shop(tmp_path)
    result = shop("import", shop.write(PACKED, packed(CONTENT)[:-4000]))

    assert 0 == result.code
    assert "ends inside of a frame" in result.lines[0]
    assert result.lines[1].endswith("1 unpacked in part")
