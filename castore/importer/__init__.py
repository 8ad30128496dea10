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

from castore.importer.content import FileFacts, facts_of, find_native, restore
from castore.importer.finding import find_segment
from castore.importer.source import Source, open_source
from castore.importer.taking import ImportedFile, import_file
from castore.importer.walking import Failed, find_files, import_paths


__all__ = [
    "Failed",
    "FileFacts",
    "ImportedFile",
    "Source",
    "facts_of",
    "find_files",
    "find_native",
    "find_segment",
    "import_file",
    "import_paths",
    "open_source",
    "restore",
]
