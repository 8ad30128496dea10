"""
What ``verify`` and ``repair`` print with ``--json``, as in `castore.cli.schemas`.
"""

from __future__ import annotations


CHECKS: dict[str, dict[str, str]] = {
    "verify": {
        "ok": "whether there is no fault",
        "against": "what it was checked against",
        "seq": "the last commit that is there",
        "findings": "list of faults and notices",
        "findings[].verdict": "one of spec/verdicts.md",
        "findings[].severity": "fault or notice",
        "findings[].where": "place, as in spec/verdicts.md",
        "findings[].detail": "what exactly",
        "explained": "list of what is absent and why, as findings",
        "covered": "object: files, frames, blobs, entries, segments, bytes",
        "level": "structure, stored, contents, chains or all",
        "not_covered": "list of what was left out",
        "affected": "list of what faults at blobs and segments mean",
        "affected[].where": "place of the fault",
        "affected[].entries": "places of the first entries that name the blob",
        "affected[].count": "how many name it; entries of the log that are not proven",
        "affected[].stands": "what is proven all the same",
        "seed": "of --sample, else null",
        "oldest_ms": "with --max-duration: when the file was checked that was not for "
        "longest, null if one never was or is damaged; else null",
    },
    "repair": {
        "faults": "how many a check found before",
        "replaced": "names of the damaged files that packs stand for now",
        "left": "names of damaged files that stay as they are",
        "quarantined": "names under which damaged files are kept",
        "taken_count": "blobs that were taken from sources",
        "lost": "list of blobs that are needed and nowhere",
        "lost[].ref": "blake3:<64 hex digits>",
        "lost[].entries": "places of the first entries that name it",
        "lost[].count": "how many name it",
        "seq": "the commit with which that counts, null if nothing changed",
        "next": "list of what to do next",
    },
}
