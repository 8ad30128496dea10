"""
What each command prints with ``--json``: keys and meaning.

The one place where they are documented (``castore help json``); a test compares
it with what the commands print. Sizes are in bytes, times in ms since 1970 UTC.
A command that fails prints ``{"error": {"code", "kind", "what"}}``; a ``LostError``
has ``lost`` too, the list of what is needed and missing.
"""

from __future__ import annotations

from castore.cli.checking_schemas import CHECKS
from castore.cli.proof_schemas import PROOFS


_EXCHANGED = {
    "size": "bytes that were sent",
    "bundle_id": "32 hex digits, or null: there was nothing to send",
    "segments": "list of what was sent",
    "segments[].segment_id": "32 hex digits",
    "segments[].state": "new, grown, same, forked",
    "segments[].entries": "entries that were taken in",
    "segments[].fork": "segment id of the fork that it became, or null",
    "entries": "entries that were taken in",
    "blobs": "payloads that were written",
    "withheld": "payloads that neither store has",
}

SCHEMAS: dict[str, dict[str, str]] = {
    "scan": {
        "files": "list, largest first",
        "files[].path": "absolute path",
        "files[].format": "as of import",
        "files[].size": "bytes of content, of a packed file unpacked",
        "files[].lines": "lines, or messages of a document and what is around them",
        "files[].line_repeats": "bytes of lines that came before, in any of the files",
        "files[].string_repeats": "bytes of large strings that came before, elsewhere",
        "files[].estimate": "bytes that it would add to a store; an estimate",
        "total": "object: size, lines, line_repeats, string_repeats, estimate",
        "sampled": "whether repeats are estimated from a sample of the lines",
        "compressed_in_part": "whether estimates come from some of the bytes",
        "failed": "list of files that could not be read",
        "failed[].path": "which",
        "failed[].what": "why",
    },
    "init": {
        "path": "folder of the store",
        "store_id": "32 hex digits",
        "made": "false if there was one",
    },
    "import": {
        "files": "list of what is in the store now (below)",
        "files[].path": "absolute path",
        "files[].format": "claude-code, claw-code, claw-legacy, claw-port, codex, "
        "gemini, gemini-json, pi, runtime, segment-log, session-log, swe-agent, "
        "trace-log, jsonl",
        "files[].session_id": "32 hex digits",
        "files[].segment_id": "32 hex digits",
        "files[].entries": "entries that hold the file",
        "files[].bad_lines": "how many of them are broken; kept as they are",
        "files[].raw_bytes": "size of the file",
        "files[].new_entries": "entries that were not there before",
        "files[].packed": "null; of a .jsonl.zst whole, torn, damaged or over: how "
        "unpacking it ended. Its content is kept, its own bytes are not",
        "bundles": "list of bundles that were taken in",
        "bundles[].path": "as it was given",
        "bundles[].bundle_id": "32 hex digits",
        "bundles[].segments": "list of objects: segment_id, state (new, grown, same, "
        "forked), entries taken in, fork (segment id, or null)",
        "bundles[].entries": "entries that were taken in",
        "bundles[].blobs": "payloads that were written",
        "bundles[].withheld": "payloads that it lacks and that are not here",
        "failed": "list of files that could not be taken in",
        "failed[].path": "which",
        "failed[].what": "why",
        "removed": "list of originals that were removed",
        "removed[].path": "which",
        "removed[].raw_bytes": "size",
        "kept": "list of originals that --remove left where they are",
        "kept[].path": "which",
        "kept[].why": "why",
    },
    "export": {
        "bundle_id": "32 hex digits",
        "output": "file",
        "size": "bytes of it",
        "segments": "how many stand in it, with those that they inherit from",
        "entries": "how many",
        "blobs": "payloads and bodies, how many",
        "raw_bytes": "of those",
        "redacted": "payloads that --redact left out",
        "absent": "payloads that the store does not have any more",
    },
    **dict.fromkeys(("push", "pull"), _EXCHANGED),
    "restore": {
        "files": "list of what was given back",
        "files[].segment_id": "32 hex digits",
        "files[].path": "where the file was imported from",
        "files[].output": "where it is now",
        "files[].raw_bytes": "size of its content",
        "files[].how": "written, replaced, or same: it was there already",
        "failed": "list of files that could not be given back",
        "failed[].path": "which",
        "failed[].what": "why",
    },
    "put": {
        "ref": "blake3:<64 hex digits>",
        "size": "raw bytes",
        "tag": "name under which it stays",
    },
    "get": {"ref": "blake3:<64 hex digits>", "output": "file", "size": "raw bytes"},
    "tag": {
        "tags": "list of the tags that are there, or that was set or removed",
        "tags[].name": "name",
        "tags[].ref": "blake3:<64 hex digits>",
        "tags[].size": "raw bytes",
    },
    "ls": {
        "segments": "list, newest commit first",
        "segments[].segment_id": "32 hex digits",
        "segments[].session_id": "32 hex digits",
        "segments[].session_key": "namespace:text, or null",
        "segments[].path": "where it was imported from, or null",
        "segments[].format": "of that file, or null",
        "segments[].fork_of": "segment id of its parent, or null",
        "segments[].fork_index": "inherited entries",
        "segments[].entries": "entries, inherited ones included",
        "segments[].revision": "commits of it",
        "segments[].seq": "number of its newest commit",
        "segments[].time_ms": "of that commit",
    },
    "log": {
        "segment_id": "32 hex digits",
        "entries": "list",
        "entries[].index": "position",
        "entries[].time_ms": "as its writer says, or null",
        "entries[].kind": "what it is",
        "entries[].size": "bytes of its body",
        "entries[].body": "reference of its body",
        "entries[].refs": "how many payloads it names",
    },
    "show": {
        "segment_id": "32 hex digits",
        "index": "position",
        "hash": "entry hash",
        "prev": "that of the one before",
        "time_ms": "as its writer says, or null",
        "kind": "what it is",
        "body": "reference of its body",
        "size": "bytes of its body",
        "cause": "of a start entry: new, fork, compaction, import; else null",
        "refs": "list of the payloads it names",
        "refs[].role": "what it is to the entry",
        "refs[].ref": "reference, or name of a list of references",
        "refs[].size": "bytes, or references in the list",
        "refs[].list": "whether it is such a list",
    },
    "fork": {
        "segment_id": "the new one",
        "session_id": "32 hex digits",
        "fork_of": "the old one",
        "fork_index": "inherited entries",
    },
    "rm": {
        "segment_id": "32 hex digits",
        "session_id": "32 hex digits",
        "entries": "how many it had, inherited ones included",
    },
    "maintain": {
        "pack": "object as of pack; null if it failed",
        "gc": "object as of gc; null if it failed or there was no time",
        "verify": "null likewise, or object: ok, files, files_total, bytes, "
        "bytes_total, findings (as of verify)",
        "failed": "list of the parts that failed",
        "failed[].part": "pack, gc or verify",
        "failed[].what": "why",
        "skipped": "list of parts for which there was no time",
    },
    "pack": {
        "files_before": "files that were replaced",
        "files_after": "packs that replace them",
        "bytes_before": "their size",
        "bytes_after": "their size",
        "seq": "the last commit of it, or null if there was nothing to do",
        "files_left": "files that wait for the next run, for want of time",
    },
    **CHECKS,
    **PROOFS,
    "gc": {
        "plan": "hash of what was due, 64 hex digits: for --plan",
        "root_count": "living segments, tags, and the store log",
        "pin_count": "entries that are pinned",
        "examined_blob_count": "blobs that were there, ref lists included",
        "retained_blob_count": "blobs that something needs",
        "retained_raw_bytes": "their raw size",
        "retained_by": "object: payloads, tags, lists, chunks, bodies -> how many of "
        "these, each for the first that holds",
        "by_role": "object: role group -> {retained, deleted}",
        "deleted_blob_count": "blobs that went, or would go",
        "deleted_raw_bytes": "their raw size",
        "condemned_blob_count": "garbage whose grace runs",
        "resurrected_blob_count": "blobs that were condemned, or stood in the plan, "
        "and are needed again",
        "held_blob_count": "garbage in files that a live process writes",
        "missing_blob_count": "references that lead nowhere and are explained",
        "accepted_blob_count": "of these, what --accept-lost accepted in this run",
        "later": "object: grace, held, plan, time, bytes, room -> {blob_count, "
        "raw_bytes}: what nothing needs and stays for now, and why",
        "next_ms": "when the next condemned blob may go, or null",
        "files_kept": "files that stay as they were",
        "files_rewritten": "files of which something was written anew",
        "files_dropped": "files that went as a whole",
        "files_written": "packs that came",
        "rewritten_bytes": "their size",
        "stored_bytes": "size of the files of the store, now",
        "freed_bytes": "by how much they shrank",
        "dry_run": "whether nothing was changed",
    },
    "backup": {
        "seq": "the commit that it stands at",
        "file_count": "files that it holds",
        "size": "their bytes",
        "copied_count": "files of which something was copied",
        "copied_size": "bytes that were copied",
        "linked_count": "files that are the store's own by another name, made now",
        "linked_size": "their bytes",
        "kept_count": "files that were there already",
        "dropped_count": "files that went, since the store has dropped them",
    },
    "erase": {
        "castore_receipt": "1: version of this form; the receipt's own object",
        "state": "planned (--dry-run), begun or done",
        "store": "store id, 32 hex digits",
        "targets": "list of what was asked for: session:ID, segment:ID[INDEX], or a "
        "reference",
        "reason": "as the store log says it",
        "time_ms": "when it began",
        "log_count": "entries of the store log by then",
        "entry": "index of the erased entry in the store log, or null",
        "seq": "its commit, or null",
        "erased": "list of payloads that went",
        "erased[].ref": "name",
        "erased[].size": "raw bytes, null where nothing tells",
        "erased[].used_by": "list of what still names it, the first hundred",
        "erased[].used_count": "how many do",
        "kept": "list of payloads that stay since others need them, as erased",
        "kept[].ref": "name",
        "kept[].size": "raw bytes",
        "kept[].used_by": "list of what needs it, the first hundred",
        "kept[].used_count": "how many do",
        "segments": "list of ids of segments that were deleted",
        "forks": "list of ids of segments of other sessions that inherit of these",
        "untagged": "list of tags that went with their payloads",
        "removed": "list of files that went",
        "not_reached": "list of texts: what castore cannot reach",
    },
    "policy": {
        "policies": "list of those that are there, or that was set or taken away",
        "policies[].session_id": "32 hex digits; null: all that have no own one",
        "policies[].group": "of roles; null: bodies of entries",
        "policies[].newest": "entries of a log, the newest, or null",
        "policies[].days": "or null",
        "policies[].keeps_all": "whether newest is more than any log has",
    },
    "pin": {
        "pins": "list of those that are there, or the one that was set",
        "pins[].segment_id": "segment that owns the entry",
        "pins[].index": "of the entry",
    },
    "unpin": {
        "pins": "list of the one that was taken away",
        "pins[].segment_id": "segment that owns the entry",
        "pins[].index": "of the entry",
    },
    "explain": {
        "entry": "null, or object: segment_id (its owner), index, kind, time_ms, "
        "is_start, is_pinned, logs (segments whose logs have it)",
        "blobs": "list: the payload; or body, lists and payloads of the entry",
        "blobs[].role": "of the payload in the entry; null for its body",
        "blobs[].ref": "blake3:<64 hex digits>",
        "blobs[].state": "kept; condemned; unneeded: by anything, and not condemned "
        "yet; absent: an entry says why; lost: nothing does; unknown",
        "blobs[].size": "bytes, or null: not there",
        "blobs[].tags": "names of tags that keep it",
        "blobs[].kept": "list of entries that keep it, some: segment_id, index, what "
        "(body, payload, list), role, log (id of the segment whose log keeps it), by "
        "(no policy, start, pinned, newest, days)",
        "blobs[].kept_count": "how many there are",
        "blobs[].chunk_of": "references of kept payloads of which it is a part",
        "blobs[].released": "list of entries that name it and keep it not, as kept",
        "blobs[].released_count": "how many there are",
        "blobs[].base_count": "differences to it, stored anew when it goes",
        "blobs[].condemned_ms": "since when, or null",
        "blobs[].goes_ms": "from when it may go, or null",
        "blobs[].is_held": "whether it stands in a file that a live process writes",
        "blobs[].absence": "verdict of the last entry that says why it went, or null",
    },
    "rebuild": {
        "sessions": "count",
        "segments": "count",
        "entries": "count",
        "blobs": "count",
        "catalog_bytes": "size of the new catalog",
    },
    "stats": {
        "sessions": "count",
        "segments": "count",
        "entries": "count, inherited ones once",
        "blobs": "count",
        "raw_bytes": "of all blobs, each once",
        "stored_bytes": "of journals and packs",
        "disk_bytes": "of the whole store",
        "catalog_bytes": "of the index",
    },
    "report": {
        "store_id": "32 hex digits",
        "totals": "object, as of stats",
        "files": "object: journal, side, pack -> {count, raw_bytes, stored_bytes}",
        "forms": "object: whole, difference, chunks -> the same of blobs; "
        "stored_bytes before the compression of frames",
        "sessions": "list, largest first",
        "sessions[].session_id": "32 hex digits",
        "sessions[].name": "path or key, null without --names",
        "sessions[].segments": "living ones",
        "sessions[].entries": "entries that these own",
        "sessions[].own_bytes": "bodies of these and payloads that they name",
        "sessions[].logical_bytes": "the same with inherited entries",
        "sessions[].time_ms": "of its newest commit",
        "growth": "list, in order of time",
        "growth[].time_ms": "newest commit of a segment",
        "growth[].bytes": "own_bytes of all segments up to there",
        "dead": "object as in forms: what nothing needs",
        "condemned_count": "how many of these have begun their grace",
        "unreadable": "what could not be read, or null",
        "is_counted": "false: forms, sessions, growth and dead are not known",
        "verify": "object as of verify, or null if it was neither asked for nor given",
    },
    "doctor": {
        "castore": "version",
        "python": "version",
        "platform": "text",
        "libraries": "object: name -> version or null",
        "sqlite": "object: version, wal_reset_race",
        "store": "null, or object: path, named_by, store_id, writable, "
        "locks_exclude, free_bytes, quarantined, mark, catalog",
        "problems": "list of texts",
        "next_steps": "list of texts",
    },
    "demo": {
        "store": "folder of the store if it was kept, else null",
        "steps": "list of texts: what happened",
        "jsonl_bytes": "what plain JSONL files take for the same",
        "stored_bytes": "what the store took before packing",
        "packed_bytes": "what the store takes after packing",
        "ok": "whether all was found to be right",
    },
    "completion": {"shell": "bash, zsh or fish", "script": "text"},
    "help": {
        "topic": "as asked, or null",
        "text": "what would be printed; for json, exits and metrics the object itself",
    },
}


def json_text() -> str:
    """Return the schemas as a table for people."""
    lines = ["With --json a command prints exactly one object.", ""]
    for command, keys in SCHEMAS.items():
        lines.append(f"castore {command}")
        lines += [f"  {name:<27} {meaning}" for name, meaning in keys.items()]
        lines.append("")
    lines.append('A command that fails: {"error": {"code", "kind", "what"}}; of kind')
    lines.append('LostError also "lost": list of what is needed, and missing')
    return "\n".join(lines)
