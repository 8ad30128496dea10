"""
``policy``, ``pin``, ``unpin``, ``explain``: what is kept, and why.
"""

from __future__ import annotations

import argparse

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from castore.cli.exits import CommandError, Exit
from castore.cli.opening import open_store, read_store
from castore.cli.output import Output
from castore.cli.payloads import resolve
from castore.cli.text import count_text, parse_entry, size_text, time_text
from castore.digest import format_digest
from castore.errors import NotFoundError
from castore.formats.storelog import ALL, Rule


if TYPE_CHECKING:
    from castore.explaining import EntryFacts, Explanation, Naming
    from castore.policies import Pin
    from castore.store import Store


# --- policies ----------------------------------------------------------------


def policy(options: argparse.Namespace, out: Output) -> Exit:
    """List policies, set one, or take one away."""
    numbers = (options.keep_newest, options.keep_days)
    given = [number is not None for number in numbers]
    if sum((any(given), options.keep_all, options.clear)) > 1:
        what = "--keep-newest and --keep-days, or --keep-all, or --clear: one of them"
        raise CommandError(Exit.USAGE, what)
    if not (any(given) or options.keep_all or options.clear):
        return _list_policies(options, out)
    if options.group is None and not options.bodies:
        what = "say what the policy is about: --group ROLE, or --bodies"
        raise CommandError(Exit.USAGE, what)
    newest, days = (ALL, None) if options.keep_all else numbers
    with open_store(options) as store:
        session = _find_session(store, options.session)
        before = [
            rule
            for rule in store.policies()
            if (rule.session, rule.group) == (session, options.group)
        ]
        store.set_policy(options.group, session=session, newest=newest, days=days)
    now = [Rule(session, options.group, newest, days)]
    return _tell_policies(before if options.clear else now, out)


def _list_policies(options: argparse.Namespace, out: Output) -> Exit:
    with read_store(options) as store:
        rules = store.policies()
        session = _find_session(store, options.session)
    if options.bodies or options.group is not None:
        rules = [rule for rule in rules if rule.group == options.group]
    if session is not None:
        rules = [rule for rule in rules if rule.session in (None, session)]
    return _tell_policies(rules, out)


def _tell_policies(rules: Iterable[Rule], out: Output) -> Exit:
    rows = [
        {
            "session_id": rule.session.hex() if rule.session else None,
            "group": rule.group,
            "newest": rule.newest,
            "days": rule.days,
            "keeps_all": rule.newest == ALL,
        }
        for rule in rules
    ]
    for rule in rules:
        whose = rule.session.hex() if rule.session else "all sessions"
        out.line(f"{_group_text(rule.group):<16} {whose:<32}  {rule_text(rule)}")
    out.object({"policies": rows})
    return Exit.DONE


def _group_text(group: str | None) -> str:
    return "(bodies)" if group is None else group or "(no role)"


def rule_text(rule: Rule) -> str:
    """Return what *rule* keeps, in words."""
    if rule.newest == ALL:
        return "all"
    parts = []
    if rule.newest is not None:
        parts.append(f"newest {rule.newest:,}")
    if rule.days is not None:
        parts.append(f"last {count_text(rule.days, 'day')}")
    return " or ".join(parts)


def _find_session(store: Store, name: str | None) -> bytes | None:
    """Return the id of the session that *name* means, None for none."""
    from castore.importer import find_segment

    if name is None:
        return None
    known = store.engine.refresh().known
    if len(name) == 32 and set(name) <= set("0123456789abcdef"):
        row = known.find_session(bytes.fromhex(name))
        if row is not None:
            return row.id
    return find_segment(store, name).session_id


# --- pins --------------------------------------------------------------------


def pin(options: argparse.Namespace, out: Output) -> Exit:
    """Pin an entry, or list the pins."""
    if options.entry is None:
        with read_store(options) as store:
            return _tell_pins(store.pins(), out)
    with open_store(options) as store:
        return _tell_pins([store.pin(*_find_entry(store, options.entry))], out)


def unpin(options: argparse.Namespace, out: Output) -> Exit:
    """Let go of a pinned entry."""
    with open_store(options) as store:
        return _tell_pins([store.unpin(*_find_pin(store, options.entry))], out)


def _tell_pins(pins: Iterable[Pin], out: Output) -> Exit:
    rows = [{"segment_id": segment.hex(), "index": index} for segment, index in pins]
    for row in rows:
        out.line(f"{row['segment_id']}@{row['index']}")
    out.object({"pins": rows})
    return Exit.DONE


def _split(text: str) -> tuple[str, int]:
    found = parse_entry(text)
    if found is None:
        raise CommandError(Exit.USAGE, f"{text!r} is no SEGMENT@INDEX")
    return found


def _find_entry(store: Store, text: str) -> tuple[bytes, int]:
    """Return segment and index of the entry that *text* means, 0 or more."""
    from castore.importer import find_segment

    name, index = _split(text)
    segment = find_segment(store, name)
    count = segment.count
    at = index + count if index < 0 else index
    if not 0 <= at < count:
        raise NotFoundError(what=f"entry {index} of {count}")
    return segment.id, at


def _find_pin(store: Store, text: str) -> tuple[bytes, int]:
    """Return segment and index of a pin, whose segment may be gone by now."""
    name, index = _split(text)
    for segment, at in store.pins():
        if (segment.hex(), at) == (name, index):
            return segment, at
    return _find_entry(store, text)


# --- explain -----------------------------------------------------------------


def explain(options: argparse.Namespace, out: Output) -> Exit:
    """Say why a payload, or what an entry has, is kept; or why it is gone."""
    from castore.explaining import entry_facts
    from castore.explaining import explain as explain_all

    with read_store(options) as store, out.progress("explaining"):
        facts = _facts_of(store, options.target)
        entry = entry_facts(store.engine, *facts) if facts else None
        names = entry.names if entry else [(None, _digest_of(store, options.target))]
        digests = [digest for _, digest in names]
        found = explain_all(store.engine, digests, limit=options.limit)
    if entry is not None:
        out.lines(_entry_lines(entry))
    rows = []
    for (role, digest), each in zip(names, found, strict=True):
        is_body = entry is not None and digest == entry.entry.body.digest
        title = "body" if is_body else role
        out.lines(_lines(each, title, options))
        rows.append({"role": role, **_object(each, options)})
    out.object({"entry": _entry_object(entry), "blobs": rows})
    return Exit.DONE


def _facts_of(store: Store, text: str) -> tuple[bytes, int] | None:
    """Return the entry that *text* means; None if it is a reference or tag."""
    if text in store.tags() or parse_entry(text) is None:
        return None
    return _find_entry(store, text)


def _digest_of(store: Store, text: str) -> bytes:
    from castore.digest import PREFIX, parse_digest

    if text.startswith(PREFIX) and text not in store.tags():
        return parse_digest(text)  # it may be gone
    return resolve(store, text).digest


def _entry_lines(facts: EntryFacts) -> Iterator[str]:
    entry = facts.entry
    when = time_text(entry.time_ms)
    yield f"{facts.segment.hex()}@{entry.index}  {when}  {entry.kind}"
    if facts.is_pinned:
        yield "  pinned"
    if entry.start is not None:
        yield "  a start entry, of which no policy releases anything"
    for log in facts.logs:
        if log != facts.segment:
            yield f"  also in the log of {log.hex()}"


def _entry_object(facts: EntryFacts | None) -> dict[str, object] | None:
    if facts is None:
        return None
    return {
        "segment_id": facts.segment.hex(),
        "index": facts.entry.index,
        "kind": facts.entry.kind,
        "time_ms": facts.entry.time_ms,
        "is_start": facts.entry.start is not None,
        "is_pinned": facts.is_pinned,
        "logs": [log.hex() for log in facts.logs],
    }


_STATES = {
    "kept": "kept",
    "condemned": "needed by nothing, condemned",
    "unneeded": "needed by nothing; the next gc condemns it",
    "absent": "not there",
    "lost": "LOST: needed, not there, and nothing says why",
    "unknown": "not there, and nothing names it",
}


def _lines(
    found: Explanation, title: str | None, options: argparse.Namespace
) -> Iterator[str]:
    size = f", {size_text(found.place.size)}" if found.place else ""
    name = f"{title}: " if title else ""
    yield f"{name}{format_digest(found.digest)}  {_STATES[found.state]}{size}"
    if found.place is None and found.absence is not None:
        yield f"  {found.absence.verdict}"
    for tag in found.tags:
        yield f"  kept by the tag {tag!r}"
    for naming in found.kept:
        yield f"  kept by {_naming_text(naming)}{_hold_text(naming)}"
    yield from _more(found.kept_count - len(found.kept), "that keep it")
    for digest in found.chunk_of:
        yield f"  kept as a part of {format_digest(digest)}"
    for naming in found.released:
        yield f"  released by {_naming_text(naming)}"
    yield from _more(found.released_count - len(found.released), "that released it")
    if found.state == "condemned" and found.condemned_ms is not None:
        until = time_text(_goes_ms(found, options))
        since = time_text(found.condemned_ms)
        yield f"  condemned since {since}, may go from {until} on"
    if found.is_held:
        yield "  in a file that a live process writes: stays until that ends"
    if found.base_count:
        count = count_text(found.base_count, "difference")
        yield f"  base of {count}, which would be stored anew without it"


def _more(count: int, what: str) -> Iterator[str]:
    if count:
        yield f"  and {count_text(count, 'entry', 'entries')} more {what}"


def _naming_text(naming: Naming) -> str:
    what = {"body": "as its body", "list": "as a list of references"}.get(naming.what)
    role = what or f"as {naming.role!r}"
    return f"{naming.segment.hex()}@{naming.index} {role}"


def _hold_text(naming: Naming) -> str:
    hold = naming.hold
    if hold is None or hold.rule is None:
        return ""
    whose = f" in the log of {hold.segment.hex()}"
    if hold.how in ("newest", "days"):
        return (
            f"{whose if hold.segment != naming.segment else ''}: {rule_text(hold.rule)}"
        )
    return f": {hold.how}"


def _goes_ms(found: Explanation, options: argparse.Namespace) -> int | None:
    if found.condemned_ms is None or found.is_needed:
        return None
    return found.condemned_ms + int(options.grace * 1000)


def _object(found: Explanation, options: argparse.Namespace) -> dict[str, object]:
    return {
        "ref": format_digest(found.digest),
        "state": found.state,
        "size": found.place.size if found.place else None,
        "tags": found.tags,
        "kept": [_naming_object(naming) for naming in found.kept],
        "kept_count": found.kept_count,
        "chunk_of": [format_digest(digest) for digest in found.chunk_of],
        "released": [_naming_object(naming) for naming in found.released],
        "released_count": found.released_count,
        "base_count": found.base_count,
        "condemned_ms": found.condemned_ms,
        "goes_ms": _goes_ms(found, options),
        "is_held": found.is_held,
        "absence": found.absence.verdict if found.absence else None,
    }


def _naming_object(naming: Naming) -> dict[str, object]:
    hold = naming.hold
    return {
        "segment_id": naming.segment.hex(),
        "index": naming.index,
        "what": naming.what,
        "role": naming.role,
        "log": hold.segment.hex() if hold else None,
        "by": hold.how if hold else None,
    }
