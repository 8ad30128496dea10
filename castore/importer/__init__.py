"""
Transcript files taken into a store, and given back byte for byte.

A file becomes a segment: each line one entry whose body is the line's exact
bytes, in order; a file that is one JSON document is cut into what stands before
its messages, each message, and what stands after. The bodies put together are
the file, whatever it holds. Importing again adds what is new: nothing, the
lines that a file has grown by, or a fork at the common beginning of two files.

What was said of the file as a whole (`FileFacts`) stands in the body of the
segment's start entry, and its payloads make it found: ``path`` (the file's
absolute path) and ``prefix`` (what stands for its first lines, `matching`).
"""

from castore.importer.content import FileFacts, facts_in, facts_of, find_native, restore
from castore.importer.finding import find_segment
from castore.importer.imported import ImportedFile
from castore.importer.removing import Judged, remove_originals
from castore.importer.returning import (
    PACKED_FORMATS,
    ReturnedFile,
    give_back,
    imported_segments,
)
from castore.importer.source import Source, open_source
from castore.importer.taking import import_file
from castore.importer.walking import Choice, Failed, find_files, import_paths


__all__ = [
    "PACKED_FORMATS",
    "Choice",
    "Failed",
    "FileFacts",
    "ImportedFile",
    "Judged",
    "ReturnedFile",
    "Source",
    "facts_in",
    "facts_of",
    "find_files",
    "find_native",
    "find_segment",
    "give_back",
    "import_file",
    "import_paths",
    "imported_segments",
    "open_source",
    "remove_originals",
    "restore",
]
