"""
Pictures as inline SVG: no script, nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from castore.cli.text import size_text, time_text


POINT_COUNT_MAX = 400  # of a curve; a picture is not wider
_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 28  # around the curve
_LINES = 4  # across it
_TOPS = (12, 16, 20, 24, 28, 40, 48, 60, 80, 100)  # tenths of a power of ten


def bar(share: float, tone: str = "a") -> str:
    """Return a bar that fills *share*, 0 to 1, of where it stands."""
    width = 100 * min(1.0, max(0.0, share))
    if share > 0:
        width = max(width, 0.4)  # a little is not nothing
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none"'
        ' aria-hidden="true"><rect class="rest" width="100" height="8"/>'
        f'<rect class="{tone}" width="{width:.2f}" height="8"/></svg>'
    )


def strip(parts: Sequence[tuple[str, int]]) -> str:
    """Return one bar of several parts, each of a tone and a size."""
    total = sum(size for _, size in parts) or 1
    rects, at = [], 0.0
    for tone, size in parts:
        width = 100 * size / total
        rects.append(
            f'<rect class="{tone}" x="{at:.2f}" width="{width:.2f}" height="8"/>'
        )
        at += width
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none"'
        f' aria-hidden="true"><rect class="rest" width="100" height="8"/>'
        f"{''.join(rects)}</svg>"
    )


def curve(points: Sequence[tuple[int, int]], label: str) -> str:
    """Return how bytes grew over time; points of (ms, bytes), in order."""
    points = _thinned(points)
    first, last = points[0][0], points[-1][0]
    top = _round_up(max(size for _, size in points))
    bottom = _HEIGHT - _BOTTOM

    def x(time_ms: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * _share(time_ms - first, last - first)

    def y(size: float) -> float:
        return bottom - (bottom - _TOP) * _share(size, top)

    # What is there stays the same until something new comes.
    steps = [f"M{x(first):.1f} {bottom}V{y(points[0][1]):.1f}"]
    steps += [f"H{x(at):.1f}V{y(size):.1f}" for _, (at, size) in pairwise(points)]
    steps.append(f"H{_WIDTH - _RIGHT}")
    line = "".join(steps)
    begin = f'<svg class="curve" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
    parts = [f'{begin} aria-label="{escape(label)}">']
    for number in range(_LINES + 1):
        size = top * number / _LINES
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}"'
            f' y1="{y(size):.1f}" y2="{y(size):.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y(size) + 4:.1f}" text-anchor="end">'
            f"{escape(size_text(size))}</text>"
        )
    parts.append(f'<path class="area" d="{line}V{bottom}Z"/>')
    parts.append(f'<path class="line" d="{line}"/>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{_day(first)}</text>')
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 8}" text-anchor="end">'
        f"{_day(last)}</text></svg>"
    )
    return "".join(parts)


def _thinned(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return at most `POINT_COUNT_MAX` of *points*, the last one always."""
    step = -(-len(points) // POINT_COUNT_MAX)
    return list(points[::-1][::step])[::-1]


def _round_up(size: int) -> int:
    """Return the next size that divides into lines at even numbers."""
    unit: int = 10 ** (len(str(max(1, size))) - 1)
    return next(n * unit // 10 for n in _TOPS if n * unit >= size * 10)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _day(time_ms: int) -> str:
    return escape(time_text(time_ms).replace("Z", " UTC"))
