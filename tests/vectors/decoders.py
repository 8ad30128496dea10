"""
How the package decodes a case: what it makes of the input, or its refusal.
"""

from __future__ import annotations

import tempfile

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from vectors.encodings import shown
from vectors.entries import short
from vectors.form import BAD_PROOF, NOT_COVERED, plain, unhex
from vectors.proofs import facts_of

from castore import merkle
from castore.bundles import check_bundle
from castore.codec import decode_object, decode_record, encode_record
from castore.digest import blob_digest, in_context, parse_digest, sha256
from castore.errors import CorruptionError, FormatError
from castore.formats import entry as entry_format
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.formats.commit import hash_commit, parse_commit
from castore.formats.entry import check_start, decode_ref_list
from castore.formats.file import file_name
from castore.formats.frame import Record
from castore.formats.head import hash_head, parse_head
from castore.formats.mark import decode_lock
from castore.formats.marker import decode_marker
from castore.formats.refuse import record, refusal
from castore.formats.stored import decode_stored, entries_of
from castore.formats.storelog import StoreLog, is_known
from castore.formats.trees import SEGMENT_TREE, STORE_LOG_TREE
from castore.limits import OBJECT_SIZE_MAX
from castore.proofs.decoding import check_proof
from castore.proofs.notes import PublicKey, open_checkpoint
from castore.reading.blobs import read_record
from castore.reading.contents import FrameContents, read_contents
from castore.reading.files import OpenFile
from castore.reading.findings import Findings
from castore.reading.frames import Frame
from castore.reading.image import commits, heads, read_run, run_headers, stored_blobs
from castore.reading.members import judge_member, make_member
from castore.reading.records import Records, judge_commits, judge_heads
from castore.storage import Files


Input = dict[str, Any]
Decode = Callable[[Input], Any]


def decode_suite(given: Input) -> Any:
    """Hash, or parse a blob's name."""
    if "blob_name" in given:
        try:
            return parse_digest(given["blob_name"])
        except FormatError as error:
            raise refusal(error.what) from error
    functions = {"B": blob_digest, "S": sha256}
    functions |= {f"H_{name}": call for name, call in in_context.items()}
    return functions[given["function"]](unhex(given["data"]))


def decode_encoded_record(given: Input) -> Any:
    """Decode a record of any size."""
    try:
        return shown(decode_record(unhex(given["data"]), size_max=OBJECT_SIZE_MAX))
    except FormatError as error:
        raise refusal(error.what) from error


def decode_encoded_object(given: Input) -> Any:
    """Decode an object."""
    try:
        return shown(decode_object(unhex(given["data"])))
    except FormatError as error:
        raise refusal(error.what) from error


def decode_entries(given: Input) -> Any:
    """Decode stored entries in their place, or a ref list."""
    if "ref_list" in given:
        data = unhex(given["ref_list"])
        refs = decode_ref_list(data)
        value = {"digest": entry_format.ref_list_digest(data), "count": len(refs)}
        return value | ({"refs": refs} if len(refs) < 1000 else {})
    stored = decode_stored(unhex(given["stored"]), given["count"])
    places = [(unhex(digest), size) for digest, size in given["bodies"]]
    index, prev = given["first_index"], unhex(given["prev"])
    forms = []
    rows = entries_of(stored, first_index=index, prev=prev, bodies=places)
    for at, (digest, time_ms, form, body) in enumerate(rows, index):
        if len(form) == 5:
            begun = entry_format.parse_start(form[4])
            ids = {name: unhex(given[name]) for name in ("session", "segment")}
            check_start(begun, **ids, index=at, prev=prev)
        refs, *start = form[3:]
        fields = [1, at, prev, time_ms, form[1], *body, list(refs), *start]
        hashed = encode_record(fields)
        forms.append({"hashed": short(hashed), "hash": digest})
        prev = digest
    return {"entries": forms}


def decode_head(given: Input) -> Any:
    """Decode a head; if there is another one, judge both."""
    store = unhex(given["store"])
    found = []
    for name in ("data", "other"):
        if name in given:
            head = parse_head(record(unhex(given[name]), 1024, "head"), store)
            found.append((head, hash_head(head.encode())))
    head, digest = found[0]
    records = Records(heads={head.segment: {digest: head for head, digest in found}})
    _judged(lambda findings: judge_heads(records, head.segment, None, findings))
    return {"head": head, "hash": digest}


def decode_commit(given: Input) -> Any:
    """Decode a commit record; if there is another one, judge both."""
    found = []
    for name in ("data", "other"):
        if name in given:
            data = unhex(given[name])
            commit = parse_commit(record(data, len(data), "commit"))
            found.append((commit, hash_commit(commit.encode())))
    if len(found) > 1:
        records = Records()
        rivals = FrameContents(0, 0, b"", 0, commits=found)
        for commit, digest in rivals.commits:
            records._add_commit(commit, digest)
        _judged(
            lambda findings: judge_commits(records, bytes(16), findings), at="seq:7"
        )
    commit, digest = found[0]
    if len(commit.heads) > 3:
        return {"hash": digest, "head_count": len(commit.heads)}
    return {"hash": digest, "commit": commit}


def _judged(judge: Callable[[Findings], object], at: str = "") -> None:
    """Raise what *judge* finds first, with the place *at* if one is given."""
    findings = Findings()
    judge(findings)
    for finding in findings:
        if at in finding.where:
            raise finding.error()


def decode_store_log(given: Input) -> Any:
    """Fold entries of a store log, and judge a stored head of a deleted segment."""
    log = StoreLog(unhex(given["store"]))
    for index, item in enumerate(given["entries"]):
        if not is_known(item["kind"]):
            raise refusal("a kind that is not known", NOT_COVERED)
        refs: Any = entry_format.check_refs(
            decode_record(unhex(item["refs"]), size_max=1 << 20),
            count_max=256,
            lists=True,
        )
        body = unhex(item["body"])
        log.apply(index, item["kind"], body, entry_format.parse_refs(refs))
    if "head" in given:
        head = parse_head(record(unhex(given["head"]), 1024, "head"))
        records = Records(heads={head.segment: {hash_head(head.encode()): head}})
        _, final = log.deleted[head.segment]
        _judged(lambda findings: judge_heads(records, head.segment, final, findings))
    return fold_value(log)


def fold_value(log: StoreLog) -> Any:
    """Return what a folded store log says, for a case."""
    return {
        "listed": list(log.listed.values()),
        "dropped": sorted(log.dropped),
        "tags": {name: blob.digest for name, blob in log.tags.items()},
        "deleted": sorted(log.deleted),
        "keys": {session.hex(): key for session, key in sorted(log.keys.items())},
        "absent": {
            blob.hex(): absence.verdict for blob, absence in sorted(log.absent.items())
        },
        "rules": [attrs.astuple(rule) for rule in log.rules.values()],
        "pins": sorted(log.pins),
        "seals": [[at, seal.root, seal.count] for at, seal in log.seals.items()],
        "recovered": [
            [at, each.count, each.root] for at, each in log.recovered.items()
        ],
    }


def decode_merkle(given: Input) -> Any:
    """Compute a root, or check a proof."""
    tree = STORE_LOG_TREE if given["tree"] == "store log" else SEGMENT_TREE
    if "leaves" in given:
        peaks: list[bytes] = []
        for count, leaf in enumerate(given["leaves"]):
            merkle.push(tree, peaks, count, tree.leaf(unhex(leaf)))
        return {"root": merkle.root(tree, peaks), "peaks": peaks}
    proof = [unhex(item) for item in given["proof"]]
    facts: dict[str, Any] = {
        name: value if type(value) is int else unhex(value)
        for name, value in given.items()
        if type(value) is int or name.endswith("root")
    }
    try:
        if "index" in given:
            leaf = tree.leaf(unhex(given["entry_hash"]))
            merkle.check_inclusion(tree, proof, leaf_hash=leaf, **facts)
        else:
            merkle.check_consistency(tree, proof, **facts)
    except ValueError as error:
        raise refusal(str(error), BAD_PROOF) from error
    return None


def decode_note(given: Input) -> Any:
    """Open a note."""
    return open_checkpoint(unhex(given["data"]), [PublicKey.parse(given["key"])])


def decode_proof_file(given: Input) -> Any:
    """Check a proof."""
    return facts_of(check_proof(unhex(given["data"])))


def decode_frame(given: Input) -> Any:
    """Decode a frame and all that it holds."""
    view = memoryview(unhex(given["data"]))
    place: dict[str, Any] = {"offset": given["offset"], "prev": unhex(given["prev"])}
    header = frame_format.parse_header(view, room=len(view))
    data = view[: header.size]
    digest = frame_format.check_hash(
        data, header, file_hash=unhex(given["file_hash"]), **place
    )
    frame = Frame(bytes(16), "file", given["offset"], header, digest, data)
    value = {"hash": digest, "end": frame.end, "records": _records(frame)}
    for blob in stored_blobs(frame):
        if blob.kind == frame_format.CHUNKED:
            decode_chunks(frame.records[blob.record].payload, blob.size)
    commits(frame)
    heads(frame, unhex(given["store"]))
    for run in run_headers(frame):
        read_run(frame, run, frame.bodies)
    return value


def _records(frame: Frame) -> list[Any]:
    return [
        {"descriptor": shown(item.descriptor), "payload": bytes(item.payload)}
        for item in frame.records
    ]


def decode_blob(given: Input) -> Any:
    """Read a blob from the records that hold it and what it is made of."""
    records = {unhex(item["digest"]): _record(item) for item in given["records"]}

    def find(digest: bytes) -> Record:
        if digest not in records:
            raise refusal("no such record", "missing blob")
        return records[digest]

    digest = unhex(given["digest"])
    return {"data": read_record(digest, find(digest), find)}


def _record(item: Any) -> Record:
    payload = unhex(item["payload"])
    rest = [
        unhex(field) if type(field) is str else field for field in item["descriptor"]
    ]
    return Record(item["descriptor"][0], rest, memoryview(payload))


def decode_file(given: Input) -> Any:
    """Read a file, its header and frames, and judge it as a file of its store."""
    file, store = unhex(given["file"]), unhex(given["store"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file_name(file))
        path.parent.mkdir()
        path.write_bytes(unhex(given["data"]))
        opened = OpenFile(Files(folder), file, store)
        contents = read_contents(opened, opened.size())
        end = given.get("end", {"offset": opened.size()})
        member = make_member(contents, end["offset"])
        if "frame" in end:
            member.claims.add((end["offset"], unhex(end["frame"])))
        _judged(lambda findings: judge_member(member, findings))
        offsets = [item.offset for item in member.contents.frames]
        return {"header": opened.header, "hash": opened.hash, "frames": offsets}


def decode_bundle(given: Input) -> Any:
    """Check a bundle; the value is what is said of one that is good."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bundle")
        path.write_bytes(unhex(given["data"]))
        checked = check_bundle(path)
    checked.raise_fault()
    report = checked.report
    found = [[f.verdict, f.where] for f in (*report.findings, *report.explained)]
    return {"found": sorted(found)}


def decode_castore_json(given: Input) -> Any:
    """Decode a ``castore.json``."""
    text = given.get("text")
    data = unhex(given["data"]) if text is None else text.encode()
    return decode_marker(data, writing=given["writing"])


def decode_lock_file(given: Input) -> Any:
    """Decode a lock file."""
    lock = decode_lock(unhex(given["data"]))
    if lock is None:
        raise refusal("says nothing", NOT_COVERED)
    return lock


DECODERS: dict[str, Decode] = {
    "suite": decode_suite,
    "encoding-record": decode_encoded_record,
    "encoding-object": decode_encoded_object,
    "entry": decode_entries,
    "head": decode_head,
    "commit": decode_commit,
    "storelog": decode_store_log,
    "merkle": decode_merkle,
    "notes": decode_note,
    "proofs": decode_proof_file,
    "frame": decode_frame,
    "blob": decode_blob,
    "file": decode_file,
    "bundle": decode_bundle,
    "castore-json": decode_castore_json,
    "lock": decode_lock_file,
}


def outcome(name: str, given: Input) -> tuple[str, Any]:
    """Return what the package makes of an input: ``expect`` and ``value``."""
    try:
        value = DECODERS[name](given)
    except CorruptionError as error:
        return error.verdict, None
    return "ok", plain(value)
