"""Ends a segment that its process could not end: what was written before is a whole zstd file again.

A process that is killed leaves a frame without an end, and perhaps a block
that is cut. Ordinary tools print what is whole and then fail. The cut block
is dropped and an empty last block put behind the others (RFC 8878 s3.1.1.2),
which costs a look at each block's header: milliseconds for a gigabyte.

Public: `mend`. Frames with a checksum are left alone; ours have none, because
an end could not be made for them without reading everything.
"""

from __future__ import annotations

import os
from typing import Final

import zstandard

#: RFC 8878 s3.1.1.1: the longest header of a frame.
_MOST_HEADER: Final = 18
#: Last block, raw, of 0 octets.
_END: Final = b"\x01\x00\x00"
_RLE: Final = 1


def mend(handle: int) -> bool:
    """Make the file behind `handle`, open for reading and writing, a whole frame; whether that was called for.

    Raises OSError.
    """
    head = os.pread(handle, _MOST_HEADER, 0)
    try:
        parameters = zstandard.get_frame_parameters(head)
        at = zstandard.frame_header_size(head)
    except zstandard.ZstdError:
        # Nothing of ours, or not even a header.
        return False
    if parameters.has_checksum:
        return False
    size = os.fstat(handle).st_size
    while at + 3 <= size:
        block = int.from_bytes(os.pread(handle, 3, at), "little")
        content = 1 if block >> 1 & 3 == _RLE else block >> 3
        if at + 3 + content > size:
            break
        at += 3 + content
        if block & 1:
            return False
    os.ftruncate(handle, at)
    os.pwrite(handle, _END, at)
    os.fsync(handle)
    return True
