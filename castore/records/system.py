"""
What the system adds to a conversation: notes, events, files; and who may do what.

Spec: spec/conversations.md, "System items".
"""

from __future__ import annotations

from typing import Any

import attrs

from castore.records.fields import (
    ANYTHING,
    BOOLEAN,
    TEXT,
    Record,
    Tagged,
    choice,
    many,
    one,
    optional,
    required,
)


#: The domain of the extension that holds a `PodScopeSnapshot`.
POD_SCOPE_DOMAIN = "pod.scope"


@attrs.frozen(kw_only=True, repr=False)
class TurnEnded(Record):
    """A pod has ended a turn."""

    pod_name: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class Errored(Record):
    """A pod has failed."""

    pod_name: str = required(TEXT)
    message: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class ShutDown(Record):
    """A pod has gone."""

    pod_name: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class ScopeSubDelegated(Record):
    """A pod has given a part of what it may do to another."""

    parent_pod: str = required(TEXT)
    sub_pod: str = required(TEXT)
    sub_socket: str = required(TEXT)
    scope: Any = required(ANYTHING)


#: Events of pods, told apart by ``kind``.
POD_EVENTS = Tagged(
    "kind",
    {
        "turn_ended": TurnEnded,
        "errored": Errored,
        "shut_down": ShutDown,
        "scope_sub_delegated": ScopeSubDelegated,
    },
)


def render_pod_event(event: Record) -> str:
    """Return the one line that *event* is to the model."""
    match event:
        case TurnEnded():
            line = f"pod {event.pod_name}: ended its turn"
        case Errored():
            line = f"pod {event.pod_name}: failed: {event.message}"
        case ShutDown():
            line = f"pod {event.pod_name}: shut down"
        case ScopeSubDelegated():
            line = (
                f"pod {event.parent_pod}: gave pod {event.sub_pod} a part of its scope"
            )
        case _:
            line = "an event of an unknown kind"
    return " ".join(line.split())


@attrs.frozen(kw_only=True, repr=False)
class _Told(Record):
    # The text as the model saw it: a replay does not depend on later templates.
    body: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class Notification(_Told):
    """A note to the model."""

    message: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class PodEventItem(_Told):
    """An event of another pod."""

    event: Record = required(POD_EVENTS.type)


@attrs.frozen(kw_only=True, repr=False)
class FileAttachment(_Told):
    """The content of a file that the user named."""

    path: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class Knowledge(_Told):
    """A piece of knowledge that the user named."""

    slug: str = required(TEXT)


@attrs.frozen(kw_only=True, repr=False)
class Workflow(_Told):
    """A workflow that the user named."""

    slug: str = required(TEXT)


#: System items, told apart by ``kind``.
SYSTEM_ITEMS = Tagged(
    "kind",
    {
        "notification": Notification,
        "pod_event": PodEventItem,
        "file_attachment": FileAttachment,
        "knowledge": Knowledge,
        "workflow": Workflow,
    },
)


def history_text(item: Record) -> str | None:
    """
    Return the text that a system item adds to the history, as it was stored.

    None if it is of an unknown kind and has none.
    """
    if isinstance(item, _Told):
        return item.body
    body = item.rest.get("body")
    return body if isinstance(body, str) else None


@attrs.frozen(kw_only=True, repr=False)
class ScopeRule(Record):
    """
    What may be done below a path; ``read`` is less than ``write``.

    Attributes:
        target: The path.

        permission: Allowed: this and less. Denied: this and more.

        recursive: Whether it holds for all below *target*.
    """

    target: str = required(TEXT)
    permission: str = required(choice("read", "write"))
    recursive: bool = optional(BOOLEAN, True)


@attrs.frozen(kw_only=True, repr=False)
class PodScopeSnapshot(Record):
    """All that a pod may do."""

    allow: tuple[ScopeRule, ...] = required(many(one(ScopeRule)))
    deny: tuple[ScopeRule, ...] = required(many(one(ScopeRule)))
