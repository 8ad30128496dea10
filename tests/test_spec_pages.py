"""
The pages of the format show what the code reads.
"""

from __future__ import annotations

import json
import re

from pathlib import Path

import pytest

from vectors.decoders import DECODERS

import castore.errors

from castore import limits, merkle
from castore.bundles import check_bundle
from castore.codec import decode_object, decode_record
from castore.conversation.state import collect_state
from castore.digest import blob_digest, format_digest, in_context
from castore.formats import file as file_format
from castore.formats import marker
from castore.formats.chunked import decode_chunks
from castore.formats.commit import hash_commit, parse_commit
from castore.formats.entry import check_refs, check_start, genesis, parse_start
from castore.formats.file import decode_header
from castore.formats.frame import (
    check_hash,
    check_shape,
    decode_raw,
    decode_table,
    parse_header,
)
from castore.formats.head import hash_head, parse_head
from castore.formats.mark import decode_lock
from castore.formats.storelog import StoreLog
from castore.formats.trees import SEGMENT_TREE, STORE_LOG_TREE
from castore.proofs.decoding import check_proof
from castore.proofs.logs import InclusionProof
from castore.proofs.notes import PublicKey, open_checkpoint, origin_of
from castore.records.entries import ENTRIES
from castore.records.items import text_message
from castore.records.messages import ConversationMessage, MessageRecord, SessionMeta
from castore.runtime.bodies import CommitBody, decode_body, encode_versioned


SPEC = Path(__file__).parents[1] / "spec"
PACKAGE = Path(castore.errors.__file__).parent
PAGES = sorted(path.name for path in SPEC.glob("*.md"))
NO_PAGES = {"README.md", "CHANGES.md"}  # the list of pages, and what changed
LINES_MAX = 300
SCREEN_LINES = 40


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (SPEC / page).read_text("utf-8")


def example(page: str, name: str) -> bytes:
    """Return the bytes of the example *name* of a page."""
    pattern = rf"^```hex example={re.escape(name)}\n(.*?)^```$"
    (found,) = re.findall(pattern, text_of(page), re.DOTALL | re.MULTILINE)
    return bytes.fromhex(found)


# --- the pages ---------------------------------------------------------------


def test_readme_lists_every_page() -> None:
    """The table of the format's README names each page, once, and no other."""
    listed = re.findall(r"^\| `([\w-]+\.md)` \|", text_of("README.md"), re.MULTILINE)

    assert sorted(listed) == sorted(set(PAGES) - NO_PAGES)


@pytest.mark.parametrize("page", sorted(set(PAGES) - NO_PAGES))
def test_a_page_begins_with_an_example(page: str) -> None:
    """A page shows an example on its first screen, and is short."""
    lines = text_of(page).splitlines()

    assert "## Example" in lines[:SCREEN_LINES]
    assert len(lines) < LINES_MAX


def test_every_named_example_is_checked() -> None:
    """An example with a name is one that a test below decodes."""
    found = {
        (page, name)
        for page in PAGES
        for name in re.findall(r"^```\w+ example=(\S+)$", text_of(page), re.MULTILINE)
    }
    source = Path(__file__).read_text("utf-8")

    assert found
    for page, name in found:
        by_hand = {marker.NAME, "note"}
        assert f'"{page}", "{name}"' in source or name in by_hand


def test_pages_that_the_code_names_exist() -> None:
    """A docstring's ``Spec:`` leads to a page."""
    named = {
        page
        for path in PACKAGE.rglob("*.py")
        for page in re.findall(r"spec/([\w/-]+\.md)", path.read_text("utf-8"))
    }

    assert named
    assert set() == {page for page in named if not (SPEC / page).exists()}


# --- examples ----------------------------------------------------------------


def test_example_of_digests() -> None:
    """The hashes that the suite's page shows are right."""
    text = text_of("suite.md")

    assert re.search(rf'blob "abc" +{blob_digest(b"abc").hex()}\n', text)
    assert re.search(
        rf"H_leaf\(zero32\) +{in_context['leaf'](bytes(32)).hex()}\n", text
    )


def test_example_of_a_record() -> None:
    """The record of the encoding's page is the value beside it."""
    data = example("encoding.md", "record")

    assert [1, b"\1\2\3", "abc"] == decode_record(data, size_max=100)
    assert "`[1, h'010203', \"abc\"]`" in text_of("encoding.md")


def test_example_of_an_agents_body() -> None:
    """The body of the agents' page is the object beside it."""
    data = example("agents.md", "body")

    assert decode_object(data) == {"turn_count": 1}
    assert '`{"turn_count": 1}`' in text_of("agents.md")


def test_example_of_an_input() -> None:
    """The input of the agents' page is what the user typed."""
    members = decode_object(example("conversations.md", "input"))
    read = ENTRIES.decode({"kind": "user_input", "ts": 1, **members})

    (item,) = collect_state([read]).history
    assert item == text_message("user", "see @a.py")
    assert "`see @a.py`" in text_of("conversations.md")


def test_agents_page_names_every_kind() -> None:
    """Each kind of entry that the code reads is in the table of the page."""
    table = text_of("conversations.md").partition("## Entries of conversations")[2]
    rows = re.findall(
        r"^\| (`[^|]+) \|", table.partition("## The fold")[0], re.MULTILINE
    )
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert set(ENTRIES.classes) == named


def test_example_of_a_runtime_commit() -> None:
    """The body of the runtime's page is a commit of one node."""
    data = example("runtime.md", "commit")
    body = decode_body("runtime_commit", data, "example")

    assert isinstance(body, CommitBody)
    assert ("append", (("b", "a"),)) == (body.change, body.nodes)
    assert 14 == body.usage[0].usage.total
    assert data == encode_versioned(body)


def test_examples_of_a_message_session() -> None:
    """The three bodies of the agents' page fold into the session beside them."""
    start = decode_object(example("messages.md", "message-start"))
    meta = SessionMeta.decode(decode_object(example("messages.md", "message-meta")))
    record = MessageRecord.decode(decode_object(example("messages.md", "message")))
    text = text_of("messages.md")

    assert start == {"derived": ["session_id"]}
    for value in (start, meta.encode(), record.encode()):
        assert f"`{json.dumps(value)}`" in text
    assert (meta.session_id, meta.created_at_ms) == ("session-1775-0", 1775)
    assert record.message == ConversationMessage.user_text("hi")


def test_example_of_an_entry() -> None:
    """The entry is one in its hashed form, with the hash that the page states."""
    data = example("entry.md", "entry")
    value = decode_record(data, size_max=limits.ENTRY_SIZE_MAX)
    version, index, prev, _, kind, digest, size, refs, start = value
    found = parse_start(start)

    ids = {"session": found.session, "segment": found.segment}
    check_start(found, **ids, index=index, prev=value[2])
    (reference,) = check_refs(refs, count_max=256, lists=True)
    assert (1, "start") == (version, kind)
    assert genesis(found.session, found.segment) == prev
    assert (blob_digest(b"{}"), 2) == (digest, size)
    assert ["tool.out", blob_digest(b"abc"), 3, 0, None] == reference
    assert ("tool", "one") == found.key
    text = text_of("entry.md")
    for shown in (found.session, found.segment, in_context["entry"](data)):
        assert f"`{shown.hex()}`" in text


def test_example_of_a_head() -> None:
    """The head covers the example entry and nothing else."""
    data = example("head.md", "head")
    head = parse_head(decode_record(data, size_max=1024))
    entry = in_context["entry"](example("entry.md", "entry"))

    assert data == head.encode()
    assert (1, 1, entry) == (head.revision, head.count, head.last)
    assert SEGMENT_TREE.leaf(entry) == head.root
    assert f"`{hash_head(data).hex()}`" in text_of("head.md")


def test_example_of_a_proof() -> None:
    """The proof leads from the example entry to the example head."""
    proof = check_proof(example("proofs.md", "inclusion"))

    assert isinstance(proof, InclusionProof)
    assert proof.hashed == example("entry.md", "entry")
    assert proof.state == parse_head(
        decode_record(example("head.md", "head"), size_max=1024)
    )


def test_example_of_a_note() -> None:
    """The note has the root that the page says, and is signed by the key beside it."""
    page = text_of("notes.md")
    (note,) = re.findall(
        r"^```text example=note\n(.*?)^```$", page, re.DOTALL | re.MULTILINE
    )
    (key,) = re.findall(r"^`(castore/[0-9a-f]{32}\+\S+)`", page, re.MULTILINE)
    peaks: list[bytes] = []
    for at in range(3):
        merkle.push(STORE_LOG_TREE, peaks, at, STORE_LOG_TREE.leaf(bytes([at]) * 32))
    found = open_checkpoint(note.encode(), [PublicKey.parse(key)])

    store = parse_head(decode_record(example("head.md", "head"), size_max=1024)).store
    assert (origin_of(store), 3) == (found.origin, found.count)
    assert merkle.root(STORE_LOG_TREE, peaks) == found.root


def test_example_of_a_commit() -> None:
    """The commit lists the example head and relies on the example file."""
    data = example("commit.md", "commit")
    commit = parse_commit(decode_record(data, size_max=1024))
    head = example("head.md", "head")
    file = example("file.md", "file")
    header = decode_header(file, file=file[28:44], store=None)

    assert data == commit.encode()
    assert (hash_head(head),) == commit.heads
    assert ((header.id, len(file), file[-32:]),) == commit.sides
    assert parse_head(decode_record(head, size_max=1024)).seq == commit.seq
    assert commit.key is not None
    assert f"`{commit.key.text}`" in text_of("commit.md")
    assert f"`{hash_commit(data).hex()}`" in text_of("commit.md")


def test_example_of_a_file_and_its_frame() -> None:
    """The file is a side pack whose only frame is the example frame, of one blob."""
    file, data = example("file.md", "file"), example("frame.md", "frame")
    header = decode_header(file, file=file[28:44], store=None)
    frame = parse_header(data, room=len(data))
    view = memoryview(data)
    own = file[:188][-32:]

    assert (file_format.SIDE, data) == (header.kind, file[188:])
    assert data[-32:] == check_hash(view, frame, offset=188, file_hash=own, prev=own)
    check_shape(frame, offset=188, start=188)
    assert [[1, 3]] == decode_table(view, frame)
    assert b"abc" == bytes(decode_raw(view, frame))
    text = text_of("frame.md")
    assert "offset 188" in text
    assert f"`{own.hex()}`" in text


def test_example_of_a_bundle(tmp_path: Path) -> None:
    """The bundle holds the example entry; its payload is withheld."""
    data = example("bundle.md", "bundle")
    path = tmp_path / "bundle"
    path.write_bytes(data)

    checked = check_bundle(path)

    assert checked.report.ok
    (said,) = checked.report.explained
    assert f"`{said.verdict}`" in text_of("bundle.md")
    assert said.where == f"blob:{blob_digest(b'abc').hex()}"
    assert checked.manifest is not None
    (row,) = checked.manifest.rows
    entry = in_context["entry"](example("entry.md", "entry"))
    assert row.head is not None
    assert entry == row.head.last


def test_example_of_a_chunk_list() -> None:
    """The chunk list gives the blob that the page names."""
    payload = example("blob.md", "chunk-list")

    chunks = decode_chunks(memoryview(payload), len(b"abcabc"))

    assert ((blob_digest(b"abc"), 3),) * 2 == chunks.chunks


def test_example_of_a_root() -> None:
    """The root over three entry hashes is the one that the page shows."""
    peaks: list[bytes] = []
    for count in range(3):
        leaf = SEGMENT_TREE.leaf(bytes([count]) * 32)
        merkle.push(SEGMENT_TREE, peaks, count, leaf)

    assert example("merkle.md", "merkle-root-3") == merkle.root(SEGMENT_TREE, peaks)


def test_example_of_a_store_log_body() -> None:
    """The body is one of the kind that the page says."""
    body = example("storelog.md", "storelog-body")
    value = DECODERS["storelog"](
        {
            "store": bytes(16).hex(),
            "entries": [{"kind": "untagged", "body": body.hex(), "refs": "80"}],
        }
    )

    assert ["name"] == list(decode_object(body))
    assert {} == value["tags"]
    log = StoreLog(bytes(16))
    with pytest.raises(castore.errors.CorruptionError, match="refs"):
        log.apply(0, "tagged", body, ())
    assert "a `tagged` entry" in text_of("storelog.md")


def test_example_of_the_small_files() -> None:
    """``castore.json`` and the lock file of the page are in their form."""
    text = text_of("folder.md")
    pattern = r"^```json example=castore\.json\n(.*?)^```$"
    (found,) = re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    lock = decode_lock(example("folder.md", "lock"))

    assert bytes(range(16)) == marker.decode_marker(found.encode(), writing=True)
    assert found.encode() == marker.encode_marker(bytes(range(16)))
    assert lock is not None
    assert "host castore" == lock.holder


def test_blob_names_are_spelled_as_the_page_says() -> None:
    """The example of a verdict, and a blob's name, have the stated spelling."""
    assert re.fullmatch(r"blake3:[0-9a-f]{64}", format_digest(bytes(32)))
    assert "`blake3:` and 64 lower-case hex digits" in text_of("suite.md")
