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


def start(width: int, height: int, depth: int) -> bytes:
    """Return what comes before the rows: signature and header, of `depth` bits a pixel."""
    return _SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))


def unfiltered(rows: np.ndarray) -> np.ndarray:
    """Return rows of bytes, uint8 (n, m), with the byte before each that says: no filter."""
    lines = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)
    lines[:, 1:] = rows
    return lines


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk: its length, kind, data and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _of_rows(rows, width, depth, compression):
    data = zlib.compress(unfiltered(rows).data, compression)
    return start(width, len(rows), depth) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
