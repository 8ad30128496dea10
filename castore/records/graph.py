"""
A session's graph: nodes that name their parents, and the leaf of the active path.

The active path is the chain of parents from the leaf, read from its root. It
ends where a parent is not there; a leaf that is not there makes it empty. Nodes
are only ever added; what a new path does not use stays beside it.

Pure: times and fresh ids come from the caller.

Spec: spec/runtime.md, "Nodes".
"""

from __future__ import annotations

import itertools
import uuid

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import attrs

from castore.records.nodes import (
    EVENT,
    PLUGIN,
    Message,
    SessionNodeRecord,
    ToolCallRecord,
    message_node,
    tool_node,
)


#: Gives 32 hex digits that nobody gave before.
Fresh = Callable[[], str]
_Node = TypeVar("_Node")


def fresh_hex() -> str:
    """Return 32 random hex digits."""
    return uuid.uuid4().hex


def upwards(
    leaf: str | None,
    find: Callable[[str], _Node | None],
    parent_of: Callable[[_Node], str | None],
) -> Iterator[tuple[str, _Node]]:
    """
    Yield ids and nodes from *leaf* to its root, each once.

    Args:
        leaf: Id of the first; None for no path at all.

        find: Returns the node of an id; where there is none, the path ends.

        parent_of: Returns the id of a node's parent, None for a root.
    """
    seen: set[str] = set()
    while leaf is not None and leaf not in seen:
        node = find(leaf)
        if node is None:
            return
        seen.add(leaf)
        yield leaf, node
        leaf = parent_of(node)


@attrs.frozen
class MessageTree:
    """
    A message and the messages that follow it.

    Attributes:
        node_id: Of the node that holds it.

        is_active: Whether it is on the active path.

        children: In the order in which they were added.
    """

    node_id: str
    message: Message
    is_active: bool
    children: tuple[MessageTree, ...]


@attrs.define(repr=False)
class SessionGraph:
    """
    Nodes in the order in which they were added, and the leaf.

    Of an id that comes twice the last node counts.

    Attributes:
        nodes: Add by the methods only.

        leaf_node_id: May name a node that is not there.
    """

    nodes: list[SessionNodeRecord] = attrs.Factory(list)
    leaf_node_id: str | None = None
    _index: dict[str, int] = attrs.field(init=False, eq=False)
    _fresh: Fresh = attrs.field(default=fresh_hex, kw_only=True, eq=False)

    def __attrs_post_init__(self) -> None:
        self._index = {node.node_id: at for at, node in enumerate(self.nodes)}

    def __repr__(self) -> str:
        return f"<SessionGraph of {len(self.nodes)} nodes>"

    def __len__(self) -> int:
        return len(self.nodes)

    # --- reading -------------------------------------------------------------

    def find(self, node_id: str) -> SessionNodeRecord | None:
        """Return the node *node_id*, None if it is not here."""
        at = self._index.get(node_id)
        return None if at is None else self.nodes[at]

    def active_path(self, leaf: str | None = None) -> list[SessionNodeRecord]:
        """Return the path to *leaf*, by default the active one; root first."""
        path = self._upwards(leaf if leaf is not None else self.leaf_node_id)
        return [node for _, node in path][::-1]

    def active_messages(self) -> list[Message]:
        """Return the messages of the active path."""
        found = (node.message for node in self.active_path())
        return [message for message in found if message is not None]

    def active_tool_calls(self) -> list[ToolCallRecord]:
        """Return the tool calls of the active path."""
        found = (node.tool_call for node in self.active_path())
        return [call.record for call in found if call is not None]

    def orphaned_node_ids(self) -> list[str]:
        """Return the ids of the nodes that are not on the active path, in order."""
        active = {node.node_id for node in self.active_path()}
        return [node.node_id for node in self.nodes if node.node_id not in active]

    def user_message_count(self) -> int:
        """Return how many messages of the user the active path has."""
        return sum(message.role == "User" for message in self.active_messages())

    def first_user_message(self) -> str | None:
        """Return the text of the first message of the user on the active path."""
        said = (one.text for one in self.active_messages() if one.role == "User")
        return next(said, None)

    def message_tree(self) -> tuple[MessageTree, ...]:
        """Return all messages, each below the message nearest before it."""
        active = {node.node_id for node in self.active_path()}
        said: dict[str, Message] = {}
        below: dict[str | None, list[str]] = {}
        for node in self._latest():
            message = node.message
            if message is not None:
                said[node.node_id] = message
                below.setdefault(self._message_above(node), []).append(node.node_id)
        made: dict[str, MessageTree] = {}

        def children(of: str | None) -> tuple[MessageTree, ...]:
            return tuple([made[name] for name in below.get(of, ())])

        order: list[str] = []
        todo = list(below.get(None, ()))
        while todo:
            name = todo.pop()
            order.append(name)
            todo += below.get(name, ())
        for name in reversed(order):
            made[name] = MessageTree(name, said[name], name in active, children(name))
        return children(None)

    def _latest(self) -> Iterator[SessionNodeRecord]:
        for at, node in enumerate(self.nodes):
            if self._index[node.node_id] == at:
                yield node

    def _message_above(self, node: SessionNodeRecord) -> str | None:
        above = itertools.islice(self._upwards(node.node_id), 1, None)
        return next((name for name, one in above if one.message is not None), None)

    def _upwards(self, leaf: str | None) -> Iterator[tuple[str, SessionNodeRecord]]:
        return upwards(leaf, self.find, lambda node: node.parent_node_id)

    # --- adding --------------------------------------------------------------

    def append(self, node: SessionNodeRecord) -> SessionNodeRecord:
        """Add *node* as it is; the leaf becomes it."""
        self._index[node.node_id] = len(self.nodes)
        self.nodes.append(node)
        self.leaf_node_id = node.node_id
        return node

    def append_message(self, message: Message, timestamp: str) -> str | None:
        """
        Add *message* below the leaf and return its node's id.

        A transient one is not added: None.
        """
        if message.is_transient:
            return None
        if not message.id:
            message = attrs.evolve(message, id=f"m{self._fresh()}")
        node_id = self._message_node_id(message.id)
        node = message_node(message, node_id, self.leaf_node_id, timestamp)
        return self.append(node).node_id

    def append_tool_call(self, record: ToolCallRecord, timestamp: str) -> str:
        """Add a tool call below the leaf and return its node's id."""
        node_id = f"plugin:{record.stable_key}"
        if node_id in self._index:
            node_id = f"{node_id}:{self._fresh()}"
        node = tool_node(record, node_id, self.leaf_node_id, timestamp)
        return self.append(node).node_id

    def append_event(self, event: dict[str, Any], timestamp: str) -> str:
        """Add *event*, ``{"name": content}``, below the leaf; return its node's id."""
        node = SessionNodeRecord(
            node_id=f"e{self._fresh()}",
            parent_node_id=self.leaf_node_id,
            timestamp=timestamp,
            kind=EVENT,
            event=event,
        )
        return self.append(node).node_id

    def append_plugin(self, plugin_type: str, body: Any, timestamp: str) -> str:
        """Add what a plugin keeps below the leaf; return its node's id."""
        node = SessionNodeRecord(
            node_id=f"x{self._fresh()}",
            parent_node_id=self.leaf_node_id,
            timestamp=timestamp,
            kind=PLUGIN,
            plugin_type=plugin_type,
            body=body,
        )
        return self.append(node).node_id

    def _message_node_id(self, message_id: str) -> str:
        tries = (f"message:{message_id}:{number}" for number in itertools.count(2))
        names = itertools.chain((message_id, f"message:{message_id}"), tries)
        return next(name for name in names if name not in self._index)

    # --- the leaf ------------------------------------------------------------

    def branch_to(self, node_id: str | None) -> None:
        """Make *node_id* the leaf, whether it is here or not."""
        self.leaf_node_id = node_id

    set_leaf_node_id = branch_to

    def fork_current_path(self) -> SessionGraph:
        """Return a graph of the active path alone."""
        return SessionGraph(self.active_path(), self.leaf_node_id)

    def heal_orphaned_leaf(self) -> bool:
        """
        Let a leaf that is not here be the last message instead, or none.

        Returns:
            Whether it was.
        """
        if self.leaf_node_id is None or self.leaf_node_id in self._index:
            return False
        messages = (node for node in reversed(self.nodes) if node.message is not None)
        last = next(messages, None)
        self.leaf_node_id = None if last is None else last.node_id
        return True

    # --- the read state ------------------------------------------------------

    def replace_active_read_state(
        self,
        messages: Iterable[Message],
        tool_calls: Iterable[ToolCallRecord],
        timestamp: str,
    ) -> list[str]:
        """
        Make the active path hold just *messages* and *tool_calls*.

        The longest beginning that the path and these have in common stays, with
        the nodes in between that are neither; the rest is added behind it. What
        the path held then stands beside it. Transient messages are left out, and
        of a message id that comes twice the second.

        Returns:
            Ids of the nodes that were added.
        """
        wanted = list(_once(messages))
        calls = list(tool_calls)
        message_count, call_count, leaf = self._common(wanted, calls)
        self.leaf_node_id = leaf
        return self._append_all(wanted[message_count:], calls[call_count:], timestamp)

    def append_active_read_delta(
        self,
        messages: Iterable[Message],
        tool_calls: Iterable[ToolCallRecord],
        timestamp: str,
    ) -> list[str]:
        """
        Add those of *messages* and *tool_calls* that the active path has not.

        A message is known by its id, a tool call by all that it holds.

        Returns:
            Ids of the nodes that were added.
        """
        known = {message.id for message in self.active_messages()}
        new = [message for message in _once(messages) if message.id not in known]
        calls: list[ToolCallRecord] = self.active_tool_calls()
        added = []
        for call in tool_calls:
            if call not in calls:
                calls.append(call)
                added.append(call)
        return self._append_all(new, added, timestamp)

    def _common(
        self, messages: Sequence[Message], calls: Sequence[ToolCallRecord]
    ) -> tuple[int, int, str | None]:
        """Return how many of each the path begins with, and where that ends."""
        message_count = call_count = 0
        leaf: str | None = None
        for node in self.active_path():
            message, call = node.message, node.tool_call
            if message is not None:
                if messages[message_count : message_count + 1] != [message]:
                    break
                message_count += 1
            elif call is not None:
                if calls[call_count : call_count + 1] != [call.record]:
                    break
                call_count += 1
            leaf = node.node_id
        return message_count, call_count, leaf

    def _append_all(
        self,
        messages: Iterable[Message],
        calls: Iterable[ToolCallRecord],
        timestamp: str,
    ) -> list[str]:
        added = [self.append_message(message, timestamp) for message in messages]
        names = [name for name in added if name is not None]
        return names + [self.append_tool_call(call, timestamp) for call in calls]


def _once(messages: Iterable[Message]) -> Iterator[Message]:
    """Yield *messages* that are to be stored, each id once."""
    seen: set[str] = set()
    for message in messages:
        if message.is_transient or (message.id and message.id in seen):
            continue
        seen.add(message.id)
        yield message
