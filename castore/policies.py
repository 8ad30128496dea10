"""
What a store is told to keep: policies by group of roles, and pins.

Without a policy everything is kept that a living log names. What is told here
counts from the next collection on.

Spec: spec/storelog.md, "What is kept".
"""

from __future__ import annotations

from castore import limits
from castore.engine import Engine
from castore.engine.expect import living
from castore.engine.members import store_log
from castore.errors import FormatError, LimitError, NotFoundError
from castore.formats import storelog
from castore.formats.ids import parse_id
from castore.formats.storelog import Rule
from castore.writing import append_store_log, check_text


Pin = tuple[bytes, int]


class Policies:
    """
    The part of a store that says what is kept; `castore.Store` has it.

    Attributes:
        engine: Of the store.
    """

    engine: Engine

    def set_policy(
        self,
        group: str | None,
        *,
        session: bytes | str | None = None,
        newest: int | None = None,
        days: int | None = None,
    ) -> None:
        """
        Say what collections keep of *group* from now on, durably.

        In each log stays what its newest so many entries have of the group, and
        what its entries of the last so many days have; also what start entries
        and pinned entries have. The rest is released: it goes if nothing else
        needs it. What one log releases, a fork of it may keep.

        Args:
            group: Of roles: the part before the first dot. None for the bodies of
                entries, whose hashes and proofs stay valid without them; but who
                reads a log from its beginning, or restores a file, needs them all.

            session: Id of the session whose logs are meant; None for all that have
                no policy of their own for the group.

            newest: Entries of a log that have some of the group, the newest;
                `castore.formats.storelog.ALL` keeps all.

            days: By the time of the entry; one without a time is as old as the
                newest commit of its segment. None for both takes the policy away.

        Raises:
            NotFoundError: There is no such session, or no policy to take away.

            FormatError: No role can be of that group.

            LimitError: A number is out of range, or the group too long.
        """
        key = None if session is None else self._find_session(session)
        if group is not None:
            check_text(group, "a group of roles", 0, limits.ROLE_SIZE_MAX)
            if "." in group:
                raise FormatError(what=f"{group!r} is no group: it has a dot")
        for number in (newest, days):
            if number is not None and not 0 <= number <= storelog.ALL:
                what = "a policy counts from 0 to 2^63 - 1"
                raise LimitError(what=what, limit=storelog.ALL)
        gone = newest is None and days is None
        if gone and (key, group) not in self._log().rules:
            raise NotFoundError(what="there is no such policy")
        body = storelog.policy(Rule(key, group, newest, days))
        append_store_log(self.engine, storelog.POLICY, body)

    def policies(self) -> list[Rule]:
        """Return all policies, those of all sessions first."""
        return sorted(
            self._log().rules.values(),
            key=lambda rule: (rule.session or b"", rule.group or "", bool(rule.group)),
        )

    def pin(self, segment: bytes | str, index: int) -> Pin:
        """
        Keep body and payloads of an entry until `unpin`, whatever a policy says.

        Durable. Ends with the last log that has the entry: a pin is no root.

        Args:
            segment: Id of a segment whose log has the entry.

            index: Of the entry; may count from the end.

        Returns:
            The segment that owns the entry, and its index there.

        Raises:
            NotFoundError: There is no such segment or entry.

            GoneError: The segment was deleted.

            FormatError: No id, or that of the store log, of which all stays.
        """
        pin = self._find_entry(segment, index)
        append_store_log(self.engine, storelog.PINNED, storelog.pinned(*pin))
        return pin

    def unpin(self, segment: bytes | str, index: int) -> Pin:
        """
        Let go of what `pin` keeps.

        Raises:
            NotFoundError: It is not pinned.
        """
        given = (parse_id(segment), index)
        pin = given if given in self._log().pins else self._find_entry(segment, index)
        if pin not in self._log().pins:
            raise NotFoundError(what=f"{pin[0].hex()}[{pin[1]}] is not pinned")
        append_store_log(self.engine, storelog.UNPINNED, storelog.pinned(*pin))
        return pin

    def pins(self) -> list[Pin]:
        """Return all pinned entries: the segment that owns each, and its index."""
        return sorted(self._log().pins)

    def _log(self) -> storelog.StoreLog:
        return store_log(self.engine.refresh(), self.engine.store)

    def _find_session(self, session: bytes | str) -> bytes:
        found = parse_id(session)
        if self.engine.refresh().known.find_session(found) is None:
            raise NotFoundError(what=f"no session {found.hex()}")
        return found

    def _find_entry(self, segment: bytes | str, index: int) -> Pin:
        """Return owner and index of an entry of a living log."""
        found = parse_id(segment)
        if found == self.engine.store:
            raise FormatError(what="the store log stays as it is")
        view = self.engine.refresh()
        row = living(view.known, found)
        at = index + row.count if index < 0 else index
        if not 0 <= at < row.count:
            raise NotFoundError(what=f"no entry {index} of {row.count}")
        return view.logs.pieces(row, at, at + 1)[0][0], at
