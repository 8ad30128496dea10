"""
Places in columns: the same as a set, a list, a dict of them.
"""

from hypothesis import given
from hypothesis import strategies as st

from castore.catalog.columns import PlaceIndex, PlaceList, PlaceSet, SortedPlaces
from castore.catalog.rows import Place


few = st.integers(0, 3)
places = st.builds(
    Place,
    st.binary(min_size=32, max_size=32)
    | st.integers(0, 9).map(lambda n: bytes([n] * 32)),
    st.sampled_from([bytes(16), b"f" * 16]),
    few | st.integers(0, (1 << 64) - 1),
    few | st.integers(0, 65_534),
    few | st.integers(0, (1 << 64) - 1),
)


@given(st.lists(places))
def test_a_set_of_places(given_: list[Place]) -> None:
    """A place is new once; file, offset and record tell it from others."""
    seen, found = set(), PlaceSet()
    for place in given_:
        key = (place.file, place.offset, place.record)
        assert (place in found) == (key in seen)
        assert found.add(place) == (key not in seen)
        seen.add(key)
        assert place in found


@given(st.lists(places))
def test_places_in_their_order(given_: list[Place]) -> None:
    """They come as they were added, or by digest and then as they were added."""
    in_order, by_digest = PlaceList(), SortedPlaces()
    for place in given_:
        in_order.add(place)
        by_digest.add(place)

    assert given_ == list(in_order)
    assert len(given_) == len(in_order) == len(by_digest)
    assert sorted(given_, key=lambda place: place.digest) == list(by_digest)


@given(st.lists(places, unique_by=lambda place: place.digest), st.lists(places))
def test_places_by_digest(given_: list[Place], others: list[Place]) -> None:
    """What was taken in, part by part, is found; other digests are not."""
    rows = {place.digest: place for place in given_}
    found = PlaceIndex()
    for half in (range(128), range(128, 256)):
        found.extend(place for place in given_ if place.digest[0] in half)

    assert sorted(rows) == list(found)
    assert [rows[digest] for digest in sorted(rows)] == list(found.values())
    assert rows == found
    for place in others:
        assert rows.get(place.digest) == found.get(place.digest)
