"""
Proofs about ranges of large blobs: which slices, of which reference of which entry.

Spec: spec/proofs.md; spec/blob.md, "Slices digest".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import attrs

from castore import limits
from castore.digest import SIZE, blob_digest
from castore.formats.chunked import slices_digest
from castore.formats.entry import BlobRef, Reference, decode_ref_list, ref_list_digest
from castore.formats.refuse import is_count, need
from castore.proofs.form import BAD_PROOF, encode_fields
from castore.proofs.logs import InclusionProof


@attrs.frozen
class RangeProof:
    """
    That the whole slices ``[start, stop)`` of a blob have these digests, for whoever
    trusts *entry*; with the bytes beside it, that they are those.

    Attributes:
        entry: The entry that names the blob, in its log.

        ref_list: Bytes of the ref list in which the reference stands; None if it
            stands in the entry.

        number: Which reference, from 0, of the entry or the list.

        start: First byte, a whole number of slices.

        stop: Behind the last byte: whole slices too, or the end of the blob.

        slices: BLAKE3 of each slice of the whole blob.
    """

    KIND = "range"

    entry: InclusionProof
    ref_list: bytes | None
    number: int
    start: int
    stop: int
    slices: bytes

    @property
    def reference(self) -> Reference:
        """
        The reference.

        Raises:
            CorruptionError: ``bad proof``: there is none of that number, or the list
                is none of the entry's; ``malformed record``.
        """
        refs = self.entry.entry.refs
        if self.ref_list is not None:
            name, found = ref_list_digest(self.ref_list), decode_ref_list(self.ref_list)
            wanted = BlobRef(name, len(found))
            listed = any(ref.flags and ref.blob == wanted for ref in refs)
            need(listed, "range: no ref list of the entry", BAD_PROOF)
            refs = found
        need(self.number < len(refs), "range: no such reference", BAD_PROOF)
        return refs[self.number]

    @property
    def blob(self) -> BlobRef:
        """The blob that the reference names."""
        return self.reference.blob

    def check(self) -> None:
        """
        Check the proof; trust in it is trust in the entry's state.

        Raises:
            CorruptionError: ``bad proof``; ``malformed record``.
        """
        self.entry.check()
        blob = self.blob
        count = -(-blob.size // limits.SLICE_SIZE)
        need(len(self.slices) == SIZE * count, "range: count of slices", BAD_PROOF)
        right = slices_digest(self.slices) == blob.slices  # null up to 8 MiB
        need(right, "range: slices of another blob", BAD_PROOF)
        need(self.start < self.stop <= blob.size, "range: not in the blob", BAD_PROOF)
        is_end = self.stop % limits.SLICE_SIZE == 0 or self.stop == blob.size
        is_whole = self.start % limits.SLICE_SIZE == 0 and is_end
        need(is_whole, "range: not of whole slices", BAD_PROOF)

    def check_bytes(self, parts: Iterable[bytes]) -> None:
        """
        Check that *parts*, each a slice, are the bytes of the range.

        Raises:
            CorruptionError: ``corrupt blob``.
        """
        at = self.start
        for part in parts:
            number = at // limits.SLICE_SIZE
            wanted = self.slices[SIZE * number : SIZE * number + SIZE]
            size = min(limits.SLICE_SIZE, self.stop - at)
            right = len(part) == size > 0 and blob_digest(part) == wanted
            need(right, f"range: slice {number} is another", "corrupt blob")
            at += len(part)
        need(at == self.stop, "range: not all of its bytes", "corrupt blob")

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        fields = [self.ref_list, self.number, self.start, self.stop, self.slices]
        return encode_fields(self.KIND, [*self.entry.fields(), *fields])

    @classmethod
    def parse(cls, fields: list[Any]) -> Self:
        """Return the proof that *fields* of a file are, not checked yet."""
        need(len(fields) == 8, "range: not eight fields")
        ref_list, number, start, stop, slices = fields[3:]
        need(ref_list is None or type(ref_list) is bytes, "range: list")
        need(all(map(is_count, (number, start, stop))), "range: numbers")
        need(type(slices) is bytes, "range: slices")
        entry = InclusionProof.parse(fields[:3])
        if ref_list is not None:
            decode_ref_list(ref_list)
        return cls(entry, ref_list, number, start, stop, slices)
