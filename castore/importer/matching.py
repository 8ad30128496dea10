"""
Which log begins with the lines of a file, and how far.

A segment's start entry has a payload of role ``prefix``: it stands for the first
k pieces of the file, k being the largest power of two up to `PREFIX_COUNT` that
the file had when the segment began. So the logs that may share `PREFIX_COUNT`
pieces and more with a file are found with a look-up for each power.

Of these, the one that goes along furthest is found in one pass over the file.
A log that inherits from another one that is compared too is read from its fork
index on only, and only if the other got there: of a tree of forks every entry is
read once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, takewhile

import attrs

from castore import Segment, Store
from castore.digest import blob_digest
from castore.formats.entry import BlobRef, Entry
from castore.importer.source import TAIL, Piece
"""
