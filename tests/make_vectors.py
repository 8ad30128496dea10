"""
Write the test vectors of the formats: ``python tests/make_vectors.py``.

With ``--check`` nothing is written; the exit code is 1 if a file is not what
would be. Wants the package installed. What it writes depends on nothing but the
code: no clock, no chance, no compressor.

Spec: spec/vectors/README.md.
"""

from __future__ import annotations

import json
import sys

from collections.abc import Callable
from pathlib import Path

from vectors.blobs import blob_cases
from vectors.bundles import bundle_cases
from vectors.encodings import object_cases, record_cases, suite_cases
from vectors.entries import entry_cases
from vectors.files import file_cases
from vectors.folder import castore_json_cases, lock_cases
from vectors.form import Case
from vectors.frames import frame_cases
from vectors.heads import commit_cases, head_cases
from vectors.logs import merkle_cases, store_log_cases
from vectors.notes import note_cases
from vectors.proofs import proof_cases


FOLDER = Path(__file__).parents[1] / "spec" / "vectors"

# Name of the file: page of spec/, cases.
FORMATS: dict[str, tuple[str, Callable[[], list[Case]]]] = {
    "suite": ("suite.md", suite_cases),
    "encoding-record": ("encoding.md", record_cases),
    "encoding-object": ("encoding.md", object_cases),
    "entry": ("entry.md", entry_cases),
    "head": ("head.md", head_cases),
    "commit": ("commit.md", commit_cases),
    "storelog": ("storelog.md", store_log_cases),
    "merkle": ("merkle.md", merkle_cases),
    "notes": ("notes.md", note_cases),
    "proofs": ("proofs.md", proof_cases),
    "frame": ("frame.md", frame_cases),
    "blob": ("blob.md", blob_cases),
    "file": ("file.md", file_cases),
    "bundle": ("bundle.md", bundle_cases),
    "castore-json": ("folder.md", castore_json_cases),
    "lock": ("folder.md", lock_cases),
}


def render(name: str) -> str:
    """Return the content of ``<name>.json``, one case a line."""
    page, cases = FORMATS[name]
    lines = ",\n".join(json.dumps(case.facts()) for case in cases())
    return f'{{"format": "{name}", "page": "{page}", "cases": [\n{lines}\n]}}\n'


def differing() -> list[str]:
    """Return the names of files that are not as they would be written."""
    wanted = {f"{name}.json": render(name) for name in FORMATS}
    found = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    names = wanted.keys() | found.keys()
    return sorted(name for name in names if wanted.get(name) != found.get(name))


def main(arguments: list[str]) -> int:
    """Write the files, or compare them; return the exit code."""
    if arguments == ["--check"]:
        return 1 if differing() else 0
    for name in FORMATS:
        (FOLDER / f"{name}.json").write_text(render(name), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
