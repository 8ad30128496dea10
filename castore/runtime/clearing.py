"""
What goes: nodes hidden and let go of, payloads that nothing needs.

Spec: spec/runtime.md, "What goes".
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from castore.engine import Engine
from castore.errors import ConflictError
from castore.gc import collect
from castore.runtime.bodies import HIDDEN, VACUUMED, HiddenBody, VacuumedBody
from castore.runtime.fold import Fold
from castore.runtime.log import Made, RuntimeLog


@attrs.frozen
class VacuumReport:
    """
    What a vacuum did.

    Attributes:
        removed_node_count: Hidden nodes that are no nodes any more.

        dangling_node_ids: Nodes that stay and whose parent was one of them.
    """

    removed_node_count: int = 0
    dangling_node_ids: tuple[str, ...] = ()


@attrs.frozen
class GcReport:
    """
    What a collection did.

    Attributes:
        root_count: Living segments, tags and the store log.

        retained_blob_count: Blobs that something needs and that are there.

        deleted_blob_count: Blobs that went.

        missing_blob_count: References that lead nowhere and are explained.
    """

    root_count: int = 0
    retained_blob_count: int = 0
    deleted_blob_count: int = 0
    missing_blob_count: int = 0


def hide(log: RuntimeLog, node_ids: Iterable[str], *, force: bool) -> int:
    """Hide nodes; see `RuntimeStore.tombstone_nodes`."""
    wanted = dict.fromkeys(node_ids)

    def decide(fold: Fold) -> tuple[Made | None, int]:
        names = tuple(name for name in wanted if fold.visible(name) is not None)
        active = not wanted.keys().isdisjoint(fold.path(fold.leaf))
        if active and not force:
            raise ConflictError(
                what="the active path would lose nodes; say force if it shall",
                subject="node",
                expected="not on the active path",
                actual="on it",
            )
        body = HiddenBody(nodes=names, forced=active)
        return Made(HIDDEN, body) if names else None, len(names)

    return log.change(decide)


def vacuum(log: RuntimeLog) -> VacuumReport:
    """Let go of hidden nodes; see `RuntimeStore.vacuum`."""

    def decide(fold: Fold) -> tuple[Made | None, VacuumReport]:
        gone = {name for name, node in fold.nodes.items() if node.is_hidden}
        dangling = tuple(
            name
            for name, node in fold.nodes.items()
            if name not in gone and node.parent in gone
        )
        made = Made(VACUUMED, VacuumedBody(nodes=tuple(sorted(gone))))
        return made if gone else None, VacuumReport(len(gone), dangling)

    return log.change(decide)


def collect_unreachable(
    engine: Engine, segment: bytes | None, put: Iterable[bytes]
) -> GcReport:
    """
    Collect without grace; see `RuntimeStore.gc_unreachable`.

    Args:
        engine: The store.

        segment: Of which only the newest checkpoint stays; None: of none.

        put: What waits for a commit and shall not be waited for any more.
    """
    forgotten = engine.pool.forget(list(put))
    logs = () if segment is None else (segment,)
    report = collect(engine, grace_s=0, keep_checkpoints=1, logs=logs, yes=True)
    return GcReport(
        report.root_count,
        report.retained_blob_count,
        report.deleted_blob_count + forgotten,
        report.missing_blob_count,
    )
