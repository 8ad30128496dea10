"""
What ``scan`` finds in files, and that it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import io
import json
import random

from functools import partial
from pathlib import Path

import pytest

from clikit import Shop, Terminal

from castore.cli import main
from castore.cli.text import size_text
from castore.compress import compress
from castore.digest import blob_digest
from castore.errors import CastoreError
from castore.importer import import_paths
from castore.packing import pack
from castore.scanning import Scan, scan
from castore.scanning.blocks import LATER_COUNT, WHOLE_COUNT, Blocks, Share
from castore.scanning.scanner import PART_SIZE
from castore.scanning.seen import Seen
from castore.scanning.strings import STRING_SIZE_MIN, large_strings, part_end
from castore.store import open as open_store


WORDS = ("agent", "branch", "cache", "error", "file", "fix", "index", "line", "path")


def look(*paths: Path) -> Scan:
    """Scan *paths*, none of which may fail."""

    def fail(path: str, error: CastoreError) -> None:
        raise AssertionError(path) from error

    return scan(paths, failed=fail)


def text(seed: int, count: int) -> str:
    """Return *count* words, always the same for one seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def lines(start: int, count: int) -> bytes:
    """Return *count* different lines of some 300 bytes."""
    rows = [{"type": "user", "n": n, "text": text(n, 50)} for n in range(count)]
    return b"".join(
        json.dumps(row | {"n": start + row["n"]}).encode() + b"\n"  # type: ignore[operator]
        for row in rows
    )


def test_repeated_lines_are_found(tmp_path: Path) -> None:
    """A line counts as repeated wherever it stood before: there, or in another file."""
    first, second = lines(0, 100), lines(1000, 10)
    (tmp_path / "a.jsonl").write_bytes(first + first[: first.index(b"\n") + 1])
    (tmp_path / "b.jsonl").write_bytes(first + second)
    found = {Path(file.path).name: file for file in look(tmp_path).files}

    assert first.index(b"\n") + 1 == found["a.jsonl"].line_repeats
    assert len(first) == found["b.jsonl"].line_repeats
    assert (101, 110) == (found["a.jsonl"].lines, found["b.jsonl"].lines)
    assert len(first + second) == found["b.jsonl"].size


def test_repeated_strings_are_found(tmp_path: Path) -> None:
    """A large string is found again in other lines, a small one is not looked for."""
    large, small = text(1, 2000), text(2, 20)
    rows = [{"id": n, "a": small, f"name{n}": large} for n in range(3)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (file,) = look(path).files

    assert 0 == file.line_repeats
    assert 2 * len(large) == file.string_repeats


def test_images_in_strings_that_are_json_are_found(tmp_path: Path) -> None:
    """What a tool put into text, escaped, is looked for too, if it is large."""
    image = random.Random(5).randbytes(50_000).hex()
    rows = [{"text": json.dumps({"n": n, "image": image})} for n in range(3)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (file,) = look(path).files

    # The backslash of the quote behind it goes with it.
    assert 2 * (len(image) + 1) == file.string_repeats


def test_strings_of_lines_beyond_memory_are_found(tmp_path: Path) -> None:
    """Where a line is cut to be looked at, no string is."""
    strings = [random.Random(n).randbytes(400_000).hex() for n in range(11)]
    again = strings[1:] + strings[:1]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(strings) + "\n" + json.dumps(again) + "\n")
    assert path.stat().st_size > 2 * PART_SIZE
    (file,) = look(path).files

    assert sum(map(len, strings)) == file.string_repeats


def test_messages_of_documents_are_compared(tmp_path: Path) -> None:
    """A document is cut as an import cuts it: a message with what stands before it."""
    step = {"action": text(3, 100), "observation": text(4, 300)}
    path = tmp_path / "a.traj"
    path.write_text(json.dumps({"trajectory": [step, step, step]}))
    (file,) = look(path).files

    assert "swe-agent" == file.format
    assert len(", " + json.dumps(step)) == file.line_repeats


def test_packed_files_are_read_as_an_import_reads_them(tmp_path: Path) -> None:
    """Their lines count, and nothing is left where they were unpacked."""
    content = lines(0, 50)
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "b.jsonl.zst").write_bytes(compress(content, 3))
    (_, packed) = sorted(look(tmp_path).files, key=lambda file: file.path)

    assert (len(content), len(content)) == (packed.size, packed.line_repeats)
    assert {"a.jsonl", "b.jsonl.zst"} == {path.name for path in tmp_path.iterdir()}


def test_what_is_excluded_is_not_read(tmp_path: Path) -> None:
    """The same choice of files as that of an import."""
    shop = Shop(tmp_path)
    shop.transcript("a.jsonl", 1)
    shop.transcript("b.jsonl", 2)

    assert 2 == shop.do("scan", tmp_path, "--exclude", "a*")["total"]["lines"]
    assert [] == shop.do("scan", tmp_path, "--since", "2999-01-01")["files"]


def test_files_are_those_of_an_import(tmp_path: Path) -> None:
    """What an import would pass over is not counted; nothing there is no error."""
    (tmp_path / "note.txt").write_text("no transcript")
    (tmp_path / "other.json").write_text("{}")

    assert () == look(tmp_path).files


@pytest.mark.parametrize("copies", [1, 4])
def test_the_estimate_is_near(tmp_path: Path, copies: int) -> None:
    """It is within 0.7 - 1.4 of what the same takes when it is imported and packed."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(copies):
        own = lines(10_000 * number + 5000, 300)
        (folder / f"{number}.jsonl").write_bytes(lines(0, 3000) + own)
    guess = look(folder).total("estimate")
    with open_store(tmp_path / "store", create=True) as store:
        list(import_paths(store, [folder], now_ms=1))
        pack(store.engine)
        real = store.stats().stored_bytes

    assert 0.7 <= guess / real <= 1.4


@pytest.mark.parametrize("size", [6_000, 30_000, 200_000])
def test_the_estimate_knows_what_an_import_cuts(tmp_path: Path, size: int) -> None:
    """Strings far apart are stored as often as an import of their size stores them."""
    texts = [
        random.Random(n).randbytes(size // 2).hex() for n in range(2_400_000 // size)
    ]
    rows = [{"n": n, "text": text} for n in range(4) for text in texts]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look(path)
    with open_store(tmp_path / "store", create=True) as store:
        list(import_paths(store, [path], now_ms=1))
        pack(store.engine)
        real = store.stats().stored_bytes

    assert 3 * size * len(texts) == found.total("string_repeats")
    assert 0.7 <= found.total("estimate") / real <= 1.4


def test_a_sample_speaks_for_the_rest() -> None:
    """Beyond its bound the table stays small and sums are right on average."""
    seen = Seen(count_max=2000)
    sizes = [random.Random(n).choice([100, 1000, 3000]) for n in range(20_000)]
    digests = [blob_digest(b"%d" % n) for n in range(20_000)]
    pairs = list(zip(digests, sizes, strict=True))
    for digest, size in pairs:
        assert not seen.add(digest, size)
    repeated = sum(seen.add(digest, size) or 0 for digest, size in pairs)

    assert seen.is_sample
    assert 2000 >= len(seen._sizes)
    assert 0.8 <= repeated / sum(sizes) <= 1.2


def test_large_contents_are_always_in_the_sample() -> None:
    """What is large is not left to chance: few weigh more than all the others."""
    seen = Seen(count_max=1000)
    large = [blob_digest(b"large %d" % n) for n in range(100)]
    for digest in large:
        seen.add(digest, 1_000_000)
    for n in range(20_000):
        seen.add(blob_digest(b"%d" % n), 500)

    assert seen.is_sample
    assert {1_000_000} == {seen.add(digest, 1_000_000) for digest in large}


def test_later_blocks_stand_for_others() -> None:
    """However much there is, only so many blocks are compressed for each doubling."""
    from castore.scanning.blocks import _is_chosen

    count = 64 * WHOLE_COUNT
    chosen = [n for n in range(count) if _is_chosen(n)]

    assert list(range(WHOLE_COUNT)) == chosen[:WHOLE_COUNT]
    assert WHOLE_COUNT + 6 * LATER_COUNT == len(chosen)


def test_what_blocks_take_is_shared_by_size() -> None:
    """Two who fill a block together pay for it together; noise takes its own size."""
    blocks = Blocks(level=1)
    one, other = Share(), Share()
    blocks.add(one, random.Random(1).randbytes(3000))
    blocks.add(other, random.Random(2).randbytes(1000))
    blocks.flush()

    assert (3000, 1000) == (one.raw_size, other.raw_size)
    assert (3000, 1000) == (one.stored_size, other.stored_size)


def test_strings_end_at_quotes_that_are_not_escaped() -> None:
    """An escaped quote belongs to the string; what is short is passed over."""
    body = b'say \\"x\\", ' * 500
    data = b'{"short": "a", "long": "' + body + b'", "n": 1}'

    assert [body] == [data[start:stop] for start, stop in large_strings(data)]
    assert [] == list(large_strings(data[:STRING_SIZE_MIN]))


def test_a_part_of_a_line_ends_before_a_string() -> None:
    """It is cut before its last quote; where there is none, at its end."""
    assert 7 == part_end(b'["a","b"')
    assert 4 == part_end(b'["a"\\"\\"'[:4] + b'"\\"x')
    assert 3 == part_end(b"abc")
    assert 4 == part_end(b'"abc')


def test_scan_shows_and_leaves_nothing(tmp_path: Path) -> None:
    """No store comes of it, files stay as they are, nothing in them is shown."""
    shop = Shop(tmp_path)
    path = shop.write("a.jsonl", b'{"type": "user", "text": "sesame"}\n' * 3)
    before = {item: item.stat().st_mtime_ns for item in tmp_path.iterdir()}
    result = shop("scan", tmp_path)
    plain = shop("--json", "scan", path)

    assert (0, 0) == (result.code, plain.code)
    assert before == {item: item.stat().st_mtime_ns for item in tmp_path.iterdir()}
    assert "sesame" not in result.text + plain.text
    assert "estimate" in result.text


def test_scan_names_the_largest_first(tmp_path: Path) -> None:
    """As many files as asked for are named; JSON has all, with their sums."""
    shop = Shop(tmp_path)
    for count in (1, 3, 2):
        shop.transcript(f"{count}.jsonl", count)
    shown = shop("scan", tmp_path, "--limit", "2").text
    value = shop.do("scan", tmp_path, "--limit", "2")

    assert shown.index("3.jsonl") < shown.index("2.jsonl")
    assert "1.jsonl" not in shown
    assert [3, 2, 1] == [file["lines"] for file in value["files"]]
    assert 6 == value["total"]["lines"]


def test_what_is_a_sample_is_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not all was remembered or compressed the output says so, and still adds."""
    shop = Shop(tmp_path)
    path = shop.write("a.jsonl", 2 * lines(0, 2000))
    exact = shop("scan", path).text
    monkeypatch.setattr("castore.scanning.scanner.Seen", partial(Seen, count_max=500))
    monkeypatch.setattr("castore.scanning.blocks.WHOLE_COUNT", 32)
    monkeypatch.setattr("castore.limits.BLOCK_SIZE", 10_000)
    sampled = shop("scan", path).text
    value = shop.do("scan", path)

    assert "compressing all" in exact
    assert "by a sample" not in exact
    assert "compressing some blocks" in sampled
    assert "judged by a sample of the lines" in sampled
    assert value["sampled"]
    assert value["compressed_in_part"]
    share = value["total"]["line_repeats"] / value["total"]["size"]
    assert 0.4 <= share <= 0.6


def test_a_terminal_sees_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line comes and goes there, and nowhere else."""
    monkeypatch.setattr("castore.cli.progress._PAUSE_S", -1.0)
    monkeypatch.setattr("castore.scanning.scanner.TELL_SIZE", 1)
    shop = Shop(tmp_path)
    path = shop.transcript(count=50)
    stream = Terminal()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stream):
        code = main(["scan", str(path)])

    assert 0 == code
    assert f"of {size_text(path.stat().st_size)}" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "" == shop("scan", path).error


def test_scan_goes_on_after_a_file_that_fails(tmp_path: Path) -> None:
    """A file that is not there is told, and the others are counted."""
    shop = Shop(tmp_path)
    path = shop.transcript()
    some = shop("--json", "scan", tmp_path / "none.jsonl", path)
    none = shop("scan", tmp_path / "none.jsonl")

    assert (3, 5) == (some.code, none.code)
    assert 1 == len(some.object["files"]) == len(some.object["failed"])
