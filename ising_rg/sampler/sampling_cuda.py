"""The sampler on NVIDIA GPUs: the sums, tables and random numbers of `sampling_cpu`, hence the same spins.

A band of rows of blocks is drawn at a time, in planes of one byte a spin, so that the working memory is the same for every
lattice: one launch loads the coarse spins, one does each step of the program, one collects the bits. One thread draws the
eight blocks whose uniforms one Philox call holds. Bands overlap by the margin that `sampling.Program` gives; rows close on
themselves.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from ising_rg.base import random_numbers
from ising_rg.base.compiling import CACHE
from ising_rg.base.random_numbers import ROUNDS
from ising_rg.sampler.sampling_cpu import CLAMP, DRAW, DRAW_ODD, HALF, N_PLANES, plane
from ising_rg.sampler.terms import multiplied
from ising_rg.spins import lattice_cuda
from ising_rg.spins.device_memory import empty_on_gpu, kernel_view
from ising_rg.spins.lattice import ONE, PackedLattice, Place

BAND_BYTES = 2**27  # of planes: two bands of which fit the budget of a stage
THREADS = 128
_MAX_GRID = 65535  # blocks in y and z
_MASK16 = np.uint64(0xFFFF)

_philox = cuda.jit(device=True, inline=True)(random_numbers.philox4x32)


@cuda.jit(cache=CACHE)
def _load_kernel(words, first, height, y0, margin, planes):
    """Unpack the coarse spins of a band, margin included, into plane 0 of each configuration: thread (x, row, configuration)."""
    x, i, b = cuda.grid(1), cuda.blockIdx.y, cuda.blockIdx.z
    if x < planes.shape[3]:
        y = (y0 + i - margin + height) % height
        word = words[first + b, (x + y) & 1, y + 1, x >> 7]
        planes[b, 0, i, x] = 1 if (word >> np.uint64((x >> 1) & 63)) & ONE else -1


@cuda.jit(device=True, inline=True)
def _wrapped(x, width):
    """Return x modulo width by additions: a division of 64 bits takes some hundred instructions, and x is seldom far outside."""
    while x < 0:
        x += width
    while x >= width:
        x -= width
    return x


@cuda.jit(device=True)
def _add_taps(flat, here, x, width, inside, taps, rows, columns, weights, totals):
    """Add to the sums of blocks x, x + 8, ... of a row what taps taps[0] ... taps[1] - 1 give."""
    for t in range(taps[0], taps[1]):
        # Unsigned, from flat arrays: signed indices cost a test for negative ones at every access.
        tap = np.uint64(t)
        weight, row = np.int32(weights[tap]), here + rows[tap]
        if inside:
            start = np.uint64(row + x + columns[tap])
            for part in range(8):
                totals[part] = np.int32(totals[part] + weight * flat[start + np.uint64(8 * part)])
        else:
            for part in range(8):
                place = row + _wrapped(x + columns[tap] + 8 * part, width)
                totals[part] = np.int32(totals[part] + weight * flat[np.uint64(place)])


@cuda.jit(device=True)
def _add_products(flat, here, x, width, inside, terms, rows, columns, weights, totals):
    """Add to the sums of blocks x, x + 8, ... of a row what products terms[0] ... terms[1] - 1 of three give."""
    for t in range(terms[0], terms[1]):
        term = np.uint64(t)
        weight = np.int32(weights[term])
        if inside:
            first = np.uint64(here + x + rows[term, 0] + columns[term, 0])
            second = np.uint64(here + x + rows[term, 1] + columns[term, 1])
            third = np.uint64(here + x + rows[term, 2] + columns[term, 2])
            for part in range(8):
                beyond = np.uint64(8 * part)
                product = flat[first + beyond] * flat[second + beyond] * flat[third + beyond]
                totals[part] = np.int32(totals[part] + weight * product)
        else:
            for part in range(8):
                product = weight
                for factor in range(3):
                    place = here + rows[term, factor] + _wrapped(x + columns[term, factor] + 8 * part, width)
                    product = np.int32(product * flat[np.uint64(place)])
                totals[part] = np.int32(totals[part] + product)


@cuda.jit(cache=CACHE)
def _step_kernel(
    planes,
    flat,
    step,
    kind,
    p,
    filled,
    rows,
    columns,
    weights,
    first_tap,
    factor_rows,
    factor_columns,
    product_weights,
    first_product,
    limit,
    shift,
    thresholds,
    variants,
    parity,
    margin,
    around,
    y0,
    height,
    place,
    key0,
    key1,
    numbers,
):
    """Do a step for a band, into planes[:, filled]: thread (Philox call, row, configuration).

    place: `lattice.Place`; the torus's rows end between two chunks of 64 blocks, or not within the window's. flat: the same
    memory as planes. rows, columns, weights: of the taps of all variants, one after the other; rows as distances in flat.
    numbers: uint64, of the configurations.
    """
    thread, i, b = cuda.grid(1), cuda.blockIdx.y + margin - around, cuda.blockIdx.z
    width, variant, most = planes.shape[3], variants[b], thresholds.shape[0] // 2
    x = 64 * (thread // 8) + thread % 8
    if x >= width:
        return
    inside = x >= margin and x + 64 + margin <= width
    totals = cuda.local.array(8, np.int32)
    for part in range(8):
        totals[part] = 0
    n_steps = first_tap.shape[0] - 1
    here, skip = (b * N_PLANES * planes.shape[2] + i) * width, variant * first_tap[n_steps]
    taps = skip + first_tap[step], skip + first_tap[step + 1]
    _add_taps(flat, here, x, width, inside, taps, rows, columns, weights, totals)
    skip = variant * first_product[n_steps]
    terms = skip + first_product[step], skip + first_product[step + 1]
    _add_products(flat, here, x, width, inside, terms, factor_rows, factor_columns, product_weights, totals)
    if kind == CLAMP:
        for part in range(8):
            if x + 8 * part < width:
                kept = (totals[part] + (((1 << shift) - 1) if totals[part] < 0 else 0)) >> shift
                planes[b, filled, i, x + 8 * part] = min(max(kept, -limit), limit)
        return
    y = ((y0 + i - margin + height) % height + place.row) % place.height
    chunk = (place.column + x) // 64
    if 64 * chunk >= place.width:  # beyond the seam
        chunk -= place.width // 64
    u0, u1, u2, u3 = _philox(np.uint64(8 * chunk + x % 8), np.uint64(y), np.uint64(p), numbers[b], key0, key1, ROUNDS)
    if kind != DRAW and (x + y + parity[variant] + (kind == DRAW_ODD)) & 1:  # x + 8, x + 16, ... are of the same colour
        for part in range(8):
            if x + 8 * part < width:
                planes[b, filled, i, x + 8 * part] = planes[b, HALF, i, x + 8 * part] if kind == DRAW_ODD else 0
        return
    for part in range(8):
        if x + 8 * part < width:
            word = u0 if part < 2 else u1 if part < 4 else u2 if part < 6 else u3
            uniform = (word >> np.uint64(16 * (part & 1))) & _MASK16
            planes[b, filled, i, x + 8 * part] = 1 if uniform < np.uint64(thresholds[totals[part] + most]) else -1


@cuda.jit(cache=CACHE)
def _store_kernel(planes, order, variants, margin, first, y0, half_width, words):
    """Collect the bits of a band: thread (word of 64 sites, fine row of the band, 2 x configuration + colour)."""
    w, row, b, colour = cuda.grid(1), cuda.blockIdx.y, cuda.blockIdx.z // 2, cuda.blockIdx.z % 2
    if 64 * w >= half_width:
        return
    y = 3 * y0 + row
    offset, i, sub_y = (y + colour) & 1, row // 3 + margin, row % 3
    word = np.uint64(0)
    for bit in range(min(64, half_width - 64 * w)):
        x = 2 * (64 * w + bit) + offset
        if planes[b, order[variants[b], 3 * sub_y + x % 3] + 1, i, x // 3] > 0:
            word |= ONE << np.uint64(bit)
    words[first + b, colour, y + 1, w] = word


def _threads(n):
    """Return the threads of a block, whole warps of 32, where a row has work for n: a narrow lattice leaves few idle."""
    return min(THREADS, 32 * -(-n // 32))


def draw_packed(
    coarse: PackedLattice,
    program: tuple,
    variants: np.ndarray | list[int],
    key: tuple[np.uint64, np.uint64],
    first_configuration: int = 0,
    tile: tuple[int, int] | None = None,
) -> PackedLattice:
    """Return the fine PackedLattice on the device; arguments as `sampling.draw_packed`. Of a tile only the rows count."""
    height, width, n = coarse.height, coarse.width, coarse.n_configurations
    if coarse.place.column + width > coarse.place.width and coarse.place.width % 64:
        raise ValueError(
            "window: found a seam within 64 blocks, needed one between them; such a window is drawn on the CPU"
        )
    fine = empty_on_gpu(n, 3 * height, 3 * width, Place(*(3 * number for number in coarse.place)))
    (words, stream), (fine_words, _) = kernel_view(coarse.words), kernel_view(fine.words)
    margin = int(program.margins[0])
    band = tile[0] if tile is not None else max(1, BAND_BYTES // (N_PLANES * width) - 2 * margin)
    band = min(int(band), height, _MAX_GRID // 3)
    together = max(1, min(n, BAND_BYTES // (N_PLANES * (band + 2 * margin) * width), _MAX_GRID // 2))
    planes = cuda.device_array((together, N_PLANES, band + 2 * margin, width), np.int8, stream=stream)
    flat = planes.reshape(planes.size)
    taps, products = multiplied(program.taps), multiplied(program.products)
    inputs, dy, columns = taps.places.reshape(-1, 3).astype(np.int64).T
    factors, n_variants = products.places.reshape(-1, 3, 3).astype(np.int64), len(program.order)
    tables = (
        (inputs * planes.shape[2] + dy) * width,
        columns,
        np.tile(taps.weights, n_variants),
        taps.first,
        (factors[..., 0] * planes.shape[2] + factors[..., 1]) * width,
        factors[..., 2],
        np.tile(products.weights, n_variants),
        products.first,
        program.thresholds,
        program.parity,
        np.argsort(program.order, 1),  # where in the drawing order each sub-pixel stands
        np.asarray(variants, np.int64),
    )
    *program_tables, thresholds, parity, place, variants = (
        cuda.to_device(np.ascontiguousarray(table), stream=stream) for table in tables
    )
    for first in range(0, n, together):
        count = min(together, n - first)
        numbers = np.arange(first_configuration + first, first_configuration + first + count, dtype=np.uint64)
        numbers = cuda.to_device(numbers, stream=stream)
        mine = variants[first : first + count]
        for y0 in range(0, height, band):
            n_rows = min(band, height - y0)
            threads = _threads(width)
            grid = -(-width // threads), n_rows + 2 * margin, count
            _load_kernel[grid, threads, stream](words, first, height, y0, margin, planes)
            for step, (kind, p) in enumerate(program.steps.tolist()):
                around = int(program.margins[step + 1])
                threads = _threads(8 * -(-width // 64))
                grid = -(-8 * -(-width // 64) // threads), n_rows + 2 * around, count
                _step_kernel[grid, threads, stream](
                    planes,
                    flat,
                    step,
                    kind,
                    p,
                    plane(kind, p),
                    *program_tables,
                    *program.clamp.tolist(),
                    thresholds,
                    mine,
                    parity,
                    margin,
                    around,
                    y0,
                    height,
                    coarse.place,
                    *key,
                    numbers,
                )
            half_width = fine.width // 2
            n_words = -(-half_width // 64)
            threads = _threads(n_words)
            grid = -(-n_words // threads), 3 * n_rows, 2 * count
            _store_kernel[grid, threads, stream](planes, place, mine, margin, first, y0, half_width, fine_words)
    lattice_cuda.close(fine)
    return fine
