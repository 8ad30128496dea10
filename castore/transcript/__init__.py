"""
Agent transcripts cut into spans, and what they say of themselves.

Pure reading: no store, no clock. The one law: the spans of a file, put together,
are the file, byte for byte, whatever it holds.
"""

from castore.transcript.describe import Description, describe
from castore.transcript.detect import detect
from castore.transcript.formats import (
    DOCUMENT_FORMATS,
    LINE_FORMATS,
    NAMESPACES,
    spans,
)
from castore.transcript.records import Span


__all__ = [
    "DOCUMENT_FORMATS",
    "LINE_FORMATS",
    "NAMESPACES",
    "Description",
    "Span",
    "describe",
    "detect",
    "spans",
]
