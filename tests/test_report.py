"""
The page about a store: right figures, well-formed, alone, and no secrets in it.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib

from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from clikit import Shop, damage

import castore

from castore.catalog.rows import Facts
from castore.cli.charts import POINT_COUNT_MAX, bar, curve
from castore.report import gather


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
VOID = {"meta", "br", "hr", "img", "link", "input"}
FETCHING = {"src", "srcset", "href", "action", "data", "poster", "background"}
ALLOWED = """
    html head meta title style body h1 h2 p div span b code ul li table tr th td
    svg rect line path text
""".split()  # noqa: SIM905 - as one reads them


class Page(HTMLParser):
    """
    Parses a page and complains where it is not well-formed or not alone.

    Attributes:
        wrong: What is wrong.

        shown: Text that is shown.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.shown: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.wrong += [f"open: {tag}" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an opening tag, or one that needs no end."""
        if tag not in ALLOWED:
            self.wrong.append(f"tag: {tag}")
        self.wrong += [
            f"attribute: {name}"
            for name, _ in attrs
            if name in FETCHING or name.startswith("on") or ":" in name
        ]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in a tag that ends itself."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Take in the end of the tag that was opened last."""
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f"end: {tag}")

    def handle_data(self, data: str) -> None:
        """Take in text."""
        if self._open[-1:] == ["style"]:
            self.wrong += [word for word in ("url(", "@import") if word in data]
        else:
            self.shown.append(data)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with transcripts, a fork, a tag, garbage, and wild names."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript("secret-plan.jsonl", 40))
    shop("-q", "import", shop.transcript("<b>&amp;\u202e.jsonl", 3))
    shop("fork", shop.root / "secret-plan.jsonl", "--at", "10")
    shop("put", "-", "--tag", "secret-tag", given=b"x" * 5000)
    shop("put", "-", "--tag", "gone", given=b"y" * 7000)
    shop("tag", "--delete", "gone")
    return shop


def page_of(shop: Shop, *args: object) -> str:
    """Return the page, which must be good."""
    result = shop("report", *args)
    assert (0, "") == (result.code, result.error)
    return result.text


# --- figures -----------------------------------------------------------------


def test_sizes_of_sessions_add_up(tmp_path: Path) -> None:
    """A fork inherits without owning; payloads count with the entry that names them."""
    with castore.open(tmp_path / "store", create=True) as store:
        payload = castore.Reference("checkpoint", store.put(b"p" * 1000))
        log = store.create_session(key=("a", "b"), body=b"s" * 10)
        log.append([castore.NewEntry("x", b"1" * 100, [payload])])
        log.append([castore.NewEntry("x", b"2" * 200)])
        fork = log.fork(2)
        fork.append([castore.NewEntry("x", b"3" * 300)])
        second = fork.fork(4)
        other = log.fork(3, session=castore.writing.new_id())
        (large, small) = gather(store, names=True).sessions
        starts = [seg.entry(seg.fork_index).body.size for seg in (fork, second, other)]

    assert (4 - 1, 1) == (large.segments, small.segments)
    own = 10 + 1100 + 200 + starts[0] + 300 + starts[1]
    assert own == large.own_bytes
    inherited = 1110 + (1110 + starts[0] + 300)
    assert own + inherited == large.logical_bytes
    assert (starts[2], starts[2] + 1310) == (small.own_bytes, small.logical_bytes)
    assert ("a:b", 6) == (large.name, large.entries)


def test_deleted_parents_count_for_their_heirs_only(tmp_path: Path) -> None:
    """A log that went is no session any more; what others inherit of it stays."""
    with castore.open(tmp_path / "store", create=True) as store:
        log = store.create_session(then=[castore.NewEntry("x", b"1" * 100)])
        log.append([castore.NewEntry("x", b"2" * 200)])
        log.fork(2)
        log.delete()
        (session,) = gather(store).sessions

    assert 1 == session.segments
    assert 100 == session.logical_bytes - session.own_bytes


def test_what_waits_is_told(shop: Shop) -> None:
    """Garbage, its grace, what is not packed: as gc and pack would find them."""
    before = shop.do("report", "-o", shop.root / "1.html")
    shop("gc")
    shop("pack")
    after = shop.do("report", "-o", shop.root / "2.html")

    assert (1, 7000) == (before["dead"]["count"], before["dead"]["raw_bytes"])
    assert (0, 1) == (before["condemned_count"], after["condemned_count"])
    assert before["files"]["pack"]["count"] < after["files"]["pack"]["count"]
    assert before["totals"]["blobs"] == sum(
        form["count"] for form in before["forms"].values()
    )


def test_differences_are_told(tmp_path: Path) -> None:
    """Contents kept as differences are counted apart, with what they take."""
    base = bytes(range(256)) * 40
    with castore.open(tmp_path / "store", create=True) as store:
        first = store.put(base, tag="first")
        store.put(base + b"more", like=first, tag="second")
        store.put_object({}, tag="third")
        forms = gather(store).forms

    assert (1, len(base) + 4) == (
        forms["difference"].count,
        forms["difference"].raw_bytes,
    )
    assert forms["difference"].stored_bytes < 100
    assert forms["whole"].raw_bytes == forms["whole"].stored_bytes


def test_growth_ends_with_everything(shop: Shop) -> None:
    """It never falls, and at its end is the sum over sessions."""
    value = shop.do("report", "-o", shop.root / "page.html")
    sizes = [point["bytes"] for point in value["growth"]]

    assert sizes == sorted(sizes)
    assert sizes[-1] == sum(session["own_bytes"] for session in value["sessions"])


# --- the page ----------------------------------------------------------------


@pytest.mark.parametrize("more", [[], ["--names"], ["--verify"], ["--limit", "1"]])
def test_the_page_is_well_formed_and_alone(shop: Shop, more: list[str]) -> None:
    """Every tag ends, nothing is fetched or run, and names cannot change that."""
    assert [] == Page(page_of(shop, *more)).wrong


def test_an_empty_store_has_a_page(tmp_path: Path) -> None:
    """Nothing to divide by is no reason to fail."""
    shop = Shop(tmp_path)
    shop("init")
    found = Page(page_of(shop, "--verify", "--names"))

    assert [] == found.wrong
    assert any("Nothing was stored yet" in text for text in found.shown)


def test_names_are_told_only_if_asked_for(shop: Shop) -> None:
    """Paths and keys may be secret; contents are shown to nobody."""
    plain, named = page_of(shop, "--verify"), page_of(shop, "--names")

    for secret in ("secret", str(shop.root), "line 0 of", "x" * 100):
        assert secret not in plain
    assert "secret-plan.jsonl" in named
    assert "&lt;b&gt;&amp;amp;\\u202e.jsonl" in named
    assert "line 0 of" not in named
    with castore.open(shop.store, read_only=True) as store:
        ids = {item.id.hex() for item in store.sessions() if item.id != store.id}

    assert all(session in plain for session in ids)


def test_the_page_says_what_verification_found(shop: Shop) -> None:
    """Damage is on the page, and in the exit code; what could be read stays told."""
    shop("pack")
    damage(shop.store)
    path = shop.root / "page.html"
    result = shop("report", "--verify", "-o", path)
    found = Page(path.read_text("utf-8"))

    assert 1 == result.code
    assert [] == found.wrong
    assert "NOT OK" in found.shown
    assert "Largest sessions" not in found.shown  # better than none, which is wrong
    assert any(text.startswith("fault: files/") for text in found.shown)


def test_what_is_missing_is_told(shop: Shop) -> None:
    """A payload that is lost is said; all figures that are known are there."""
    with castore.open(shop.store) as store:
        log = store.create_session()
        kept = castore.Reference("checkpoint", store.put(b"z" * 3000))
        log.append([castore.NewEntry("turn", b"", [kept])])
        facts = Facts(gone_places=[kept.blob.digest])
        with store.engine.state.locked():
            while store.engine.upkeep._apply_slice():
                pass
            catalog = store.engine.state.catalog
            assert catalog is not None
            position = catalog.position()
            assert position is not None
            catalog.apply([facts], position)
        report = gather(store)

    assert "missing blobs: 1" == report.unreadable
    assert report.is_counted
    assert report.sessions


def test_the_page_says_what_an_earlier_verification_found(shop: Shop) -> None:
    """Its report is told as it was written; a file that is none is refused."""
    told = shop("--json", "verify")
    path = shop.write("verified.json", told.data)
    value = shop.do("report", "--verified", path, "-o", shop.root / "page.html")

    assert told.object == value["verify"]
    for data in (b"", b"[]", b"{}", b'{"ok": true}', b'{"ok": 1, "findings": 2}'):
        assert 2 == shop("report", "--verified", shop.write("x", data)).code
    assert 5 == shop("report", "--verified", shop.root / "none").code
    assert 2 == shop("report", "--verify", "--verified", path).code


def test_a_page_is_not_replaced_by_accident(shop: Shop) -> None:
    """What is there stays unless --force is said; only its owner may read it."""
    path = shop.write("page.html", b"mine")

    assert 4 == shop("report", "-o", path).code
    assert b"mine" == path.read_bytes()
    assert 0 == shop("report", "-o", path, "--force").code
    assert 0 == path.stat().st_mode & 0o077
    assert 2 == shop("--json", "report").code


def test_a_page_changes_nothing(shop: Shop) -> None:
    """The files of the store are as they were, the journal's length included."""

    def facts() -> dict[Path, tuple[int, int]]:
        return {
            path: (path.stat().st_size, path.stat().st_mtime_ns)
            for path in shop.store.rglob("*.cas")
        }

    before = facts()
    page_of(shop, "--verify")

    assert before == facts()


# --- pictures ----------------------------------------------------------------


def test_curves_stay_small() -> None:
    """However many points there are, some hundred are drawn, the last one always."""
    points = [(number, number) for number in range(100_000)]
    picture = curve(points, "x")

    assert POINT_COUNT_MAX + 1 >= picture.partition("line")[2].count("V") / 2
    assert "100 kB" in picture
    assert [] == Page(picture).wrong


def test_pictures_of_nothing() -> None:
    """One point, no bytes, a share of nothing: pictures all the same."""
    assert [] == Page(curve([(0, 0)], "x")).wrong
    assert [] == Page(curve([(5, 7), (5, 8)], "x")).wrong
    assert 'width="0.00"' in bar(0)
    assert 'width="100.00"' in bar(7)


def test_a_browser_shows_it(shop: Shop) -> None:
    """Rendered by a real browser, light and dark, the page is not blank."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no chromium on the path")
    path = shop.root / "page.html"
    shop("report", "-o", path)
    shades = [
        _render(browser, path, shop.root / f"{number}", more)
        for number, more in enumerate(([], ["--force-dark-mode"]))
    ]

    for pixels in shades:
        assert 50 < len(pixels)  # colours; text has many between ink and paper
    assert shades[0].most_common(1) != shades[1].most_common(1)


def _render(browser: str, path: Path, where: Path, more: list[str]) -> Counter[bytes]:
    """Return how often each colour is in the picture of a page."""
    picture = where.with_suffix(".png")
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu"),
        *("--disable-background-networking", "--no-first-run"),
        *(f"--user-data-dir={where}", "--window-size=800,600", *more),
        *(f"--screenshot={picture}", path.as_uri()),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return _colours(picture.read_bytes())


def _colours(png: bytes) -> Counter[bytes]:
    """Return the colours of a PNG without interlacing, 8 bits a channel."""
    at, data, width, depth = 8, b"", 0, 0
    while at < len(png):
        size, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + size]
        at += 12 + size
        if kind == b"IHDR":
            width, depth = struct.unpack_from(">I", body)[0], {2: 3, 6: 4}[body[9]]
        elif kind == b"IDAT":
            data += body
    raw = zlib.decompress(data)
    step = width * depth
    above = bytearray(step)
    found: Counter[bytes] = Counter()
    for start in range(0, len(raw), step + 1):
        above = _unfilter(raw[start], raw[start + 1 : start + 1 + step], above, depth)
        found.update(bytes(above[n : n + 3]) for n in range(0, step, depth))
    return found


def _unfilter(kind: int, row: bytes, above: bytearray, depth: int) -> bytearray:
    """Return one line of a PNG as it is shown."""
    line = bytearray(row)
    for n, value in enumerate(row):
        left = line[n - depth] if n >= depth else 0
        up, corner = above[n], above[n - depth] if n >= depth else 0
        near = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
        line[n] = (value + (0, left, up, (left + up) // 2, near)[kind]) & 255
    return line
