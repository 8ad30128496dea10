"""
What a reader keeps of the frames that it read stays within its bound.
"""

from __future__ import annotations

import gc
import tracemalloc

from pathlib import Path

import castore

from castore import NewEntry, limits
from castore.engine.frames import FrameCache
from castore.reading.files import OpenFiles
from castore.reading.frames import Frame, walk
from castore.storage import Files


COUNT = 1500  # frames of one small entry each
SIZE_MAX = limits.MIB


def test_many_small_frames_take_no_more_than_the_bound(folder: Path) -> None:
    """Small frames count with all that they keep in memory, not with their bytes."""
    with castore.open(folder / "store", create=True) as store:
        log = store.create_session()
        for number in range(COUNT):
            log.append([NewEntry("line", b"%d" % number)])
    opened = OpenFiles(Files(folder / "store"), None)
    file = opened.get(opened.ids()[0])
    frames = [item for item in walk(file, 188, file.size()) if isinstance(item, Frame)]
    places = [frame.offset for frame in frames]
    cache = FrameCache(opened, SIZE_MAX)
    del frames
    gc.collect()

    tracemalloc.start()
    for offset in places:
        list(cache.get(file.id, offset).bodies)
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(places) > COUNT
    assert SIZE_MAX / 4 < kept < SIZE_MAX * 1.25
