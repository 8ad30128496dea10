"""
Every bound in one place, with its unit in its name.

A reader refuses what passes one of these before it allocates or believes
anything; a writer raises `LimitError`. Spec: spec/limits.md.
"""

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# --- formats (readers refuse more) ------------------------------------------
ENTRY_SIZE_MAX = 65_535  # bytes of an entry's hashed form
ENTRY_REFS_COUNT_MAX = 256  # more go to a ref list
REF_LIST_COUNT_MAX = 65_536  # references in one ref list
ROLE_SIZE_MAX = 64  # bytes of UTF-8
KIND_SIZE_MAX = 64  # bytes of UTF-8
KEY_SIZE_MAX = 512  # bytes of UTF-8 of a commit key
NAME_SIZE_MAX = 1024  # bytes of UTF-8 of a session key's text or a tag
RECORD_DEPTH_MAX = 4  # nesting of a structural record
OBJECT_DEPTH_MAX = 64  # nesting of a `put_object` value
OBJECT_SIZE_MAX = 64 * MIB  # bytes of an encoded object
FRAME_RAW_SIZE_MAX = 16 * MIB  # bytes of a frame's records before compression
FRAME_STORED_SIZE_MAX = 17 * MIB  # bytes of a frame's stored part
FRAME_TABLE_SIZE_MAX = 4 * MIB  # bytes of a frame's table
FRAME_RECORD_COUNT_MAX = 65_535  # records in a frame
BLOB_RECORD_SIZE_MAX = 8 * MIB  # bytes of a blob kept as one record
DIFFERENCE_BASE_SIZE_MIN = 8  # bytes; shorter prefixes are refused by zstd
DIFFERENCE_DEPTH_MAX = 255  # bases behind a difference
WINDOW_LOG_MAX = 27  # zstd, 128 MiB
FILE_SIZE_MAX = 1 << 40  # bytes of one file
PROOF_SIZE_MAX = 384 * KIB  # bytes of a proof file; decoded it takes 70 times that
NOTE_SIZE_MAX = 128 * KIB  # bytes of a signed note
NOTE_SIGNATURE_COUNT_MAX = 100  # lines below a note
SLICE_SIZE = MIB  # raw bytes under one hash of a slice list
SLICED_SIZE_MIN = 8 * MIB + 1  # raw bytes from which a reference has slices

# --- this writer's choices (any value is legal) -----------------------------
SEAL_PAGE_COUNT = 8192  # heads in one payload of a sealed entry
JOURNAL_SIZE = 64 * MIB  # bytes at which a journal is closed
OVERLAY_COMMIT_COUNT = 1000  # commits that the catalog may lack
OVERLAY_SIZE = 4 * MIB  # bytes of frames that the catalog may lack
APPLY_ROW_COUNT = 1000  # catalog rows written under one lock
PENDING_SIZE_MAX = 16 * MIB  # bytes of put blobs held in memory until a commit
SIDE_SIZE_MIN = MIB  # stored bytes from which a blob goes to the side pack
NODE_LEVEL_MIN = 4  # subtrees of 2^n leaves and up are kept in the catalog
RUN_COUNT = 256  # entries in one record, so that one entry is read cheaply
RUN_REF_COUNT = 16_384  # references from which a record of entries is full
BLOCK_COUNT = 16_384  # blobs in one frame; their table stays below its limit
BLOCK_SIZE = 4 * MIB  # raw bytes of bodies in a packed frame
PACK_SIZE = 512 * MIB  # bytes at which a pack is closed
PACKING_SIZE = 256 * MIB  # bytes of new files that one commit of packing replaces
DIFFERENCE_WHOLE_EVERY = 32  # commits write every n-th version whole
DIFFERENCE_TURNED_EVERY = 192  # packing the same; with what commits add below 255
SLOT_SIZE_MIN = KIB  # raw bytes from which versions of a payload are looked at
SLOT_LOOK_BACK = 64  # entries read to find what a slot held before
PART_SIZE = 4 * MIB  # raw bytes of a file that a helping process reads at once
RESERVE_SIZE = MIB  # bytes kept for maintenance on a full disk
CACHE_SIZE = 64 * MIB  # bytes of decoded frames kept by a reader
GRACE_S = 24 * 3600  # seconds from condemned to deleted
LOCK_TIMEOUT_S = 60.0  # seconds to wait for the store lock
