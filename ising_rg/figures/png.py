"""Pictures of spins as PNG, the colours of all pages: black up, white down, grey levels for averages."""

from __future__ import annotations

import struct
import zlib

import numpy as np

BLACK, WHITE = 0, 255
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def of_bits(bits: np.ndarray, width: int, compression: int = 1) -> bytes:
    """Return a 1-bit PNG of bit-packed spins, uint8 (H, ceil(width / 8)) in numpy.packbits order, 1 = up.

    compression: zlib's; 1 takes 2 ms for 512 x 512 critical spins and makes 27 kB of them.
    """
    return _of_rows(np.invert(bits), width, 1, compression)


def of_grey(pixels: np.ndarray, compression: int = 1) -> bytes:
    """Return an 8-bit PNG of grey levels, uint8 (H, W)."""
    return _of_rows(pixels, pixels.shape[1], 8, compression)


def grey(means: np.ndarray) -> np.ndarray:
    """Return the grey levels, uint8, of mean spins, -1 ... 1."""
    return np.rint((1 - np.asarray(means)) * (WHITE / 2)).astype(np.uint8)


def _of_rows(rows, width, depth, compression):
    lines = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)  # before each row a byte that says: no filter
    lines[:, 1:] = rows
    header = struct.pack(">IIBBBBB", width, len(rows), depth, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines.data, compression)), (b"IEND", b"")
    return _SIGNATURE + b"".join(chunk(*one) for one in chunks)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk: its length, kind, data and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
