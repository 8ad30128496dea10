"""
Content-defined chunks: cuts that move with the content, not with the offset.

FastCDC as `pyfastcdc` has it: compiled, some GB/s, with wheels. Where a blob is
cut is no part of the format; any cuts make a valid chunk list.

Spec: spec/blob.md, "Chunk list"; spec/reasons.md 38.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from castore.limits import KIB, MIB


SIZE_AVERAGE = 256 * KIB  # lets one chunk list reach 100 GB
SPREAD = 4  # a chunk has from a fourth of the average to four times as much
_BUFFER = 8 * MIB


def chunks(parts: Iterable[bytes], *, average: int = SIZE_AVERAGE) -> Iterator[bytes]:
    """
    Yield the chunks of what *parts* give together, in order.

    The cuts depend on the bytes only, not on how they come in parts. Holds some
    `_BUFFER` and the largest part in memory.

    Args:
        parts: All there is.

        average: Bytes of a chunk, about; `SPREAD` bounds all but the last.
    """
    from pyfastcdc import FastCDC

    cutter = FastCDC(
        avg_size=average, min_size=average // SPREAD, max_size=average * SPREAD
    )
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size >= _BUFFER:
            found = [bytes(cut.data) for cut in cutter.cut_buf(b"".join(waiting))]
            # The last one ends where the buffer does, not where its content says.
            waiting = [found.pop()]
            size = len(waiting[0])
            yield from found
    rest = b"".join(waiting)
    if rest:
        yield from (bytes(cut.data) for cut in cutter.cut_buf(rest))
