"""
What an import says of a file.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class ImportedFile:
    """
    A file that is in the store now.

    Attributes:
        path: Absolute path.

        format: As from `castore.transcript.detect`.

        session_id: 32 hex digits.

        segment_id: 32 hex digits.

        entries: Entries that hold the file, inherited ones included.

        bad_lines: How many of them are not what should stand there.

        raw_bytes: Bytes of the file.

        new_entries: How many of the entries this import added.

        packed: None for a plain file; for a ``.jsonl.zst`` how unpacking it ended
            (`castore.compress.Unpacking`), and all else is of its content.
    """

    path: str
    format: str
    session_id: str
    segment_id: str
    entries: int
    bad_lines: int
    raw_bytes: int
    new_entries: int
    packed: str | None = None
