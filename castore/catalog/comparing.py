"""
All rows of two catalogs, made fit to be compared.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from castore.catalog.rows import Facts


def sorted_facts(facts: Facts) -> Facts:
    """Return *facts* with every list in order, for comparisons."""

    def key(row: object) -> tuple[tuple[bool, object], ...]:
        parts: Iterable[object] = row if isinstance(row, tuple) else (row,)
        return tuple((part is not None, part) for part in parts)

    lists = {
        field.name: sorted(getattr(facts, field.name), key=key)
        for field in attrs.fields(Facts)
    }
    return Facts(**lists)


def read_facts(facts: Facts) -> Facts:
    """
    Return *facts* but for the rows that nobody reads, for comparisons.

    Of a deleted log only what others inherit is read; its other rows stay until
    nobody inherits anything of it, and a catalog that is made anew lacks them.
    """
    stops = {row.segment: 0 for row in facts.deleted}
    for row in facts.segments:
        if row.parent in stops:
            stops[row.parent] = max(stops[row.parent], row.fork_index)

    def is_read(segment: bytes, index: int) -> bool:
        return segment not in stops or index < stops[segment]

    return attrs.evolve(
        facts,
        runs=[run for run in facts.runs if is_read(run.segment, run.first)],
        nodes=[
            node
            for node in facts.nodes
            if is_read(node.segment, ((node.index + 1) << node.level) - 1)
        ],
        keys=[key for key in facts.keys if key.segment not in stops],
    )
