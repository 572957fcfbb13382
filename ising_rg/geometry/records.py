"""Clusters that are still open: what is known of each adds up when two are joined, around the torus too.

A record is a row of int64, one a node of a union-find. Sites have places on the plane that covers the torus: a node's KX and KY
say by how many widths and heights its sites are moved to stand beside its parent's. Two sites of one cluster that are joined once
more, but so many widths and heights apart, say how the cluster winds around the torus. That winding is primitive, as a closed path
of bonds that crosses no other is; two that are not multiples of each other make a CROSS.

Sums of squares are kept modulo 2^64; centred, when the cluster is complete, they are right if below that.
"""

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.spins.popcounts import popcount

# Columns of a record. SX, SY, SQ: sums of x, y, x^2 + y^2; FIRST: the first site in raster order, y width + x; WX, WY: winding.
PARENT, KX, KY, SIZE, SX, SY, SQ, FIRST, LEFT, RIGHT, TOP, BOTTOM, WX, WY, FLAGS, ID = range(16)
COLUMNS = 16
EDGE, CROSS = 1, 2  # FLAGS: sites at an edge of a window; winds in two ways

# Columns of a tally, by the power of 2 at or below the size: clusters, their sites, sums of size^2 and squared radii of gyration.
COUNT, SITES, SQUARES, RADII = range(4)
POWERS = 64
RADIUS_UNIT = 1 / 256  # whole numbers add up the same in any order


def empty_tally() -> np.ndarray:
    """Return a tally, int64 (2, POWERS, 4): of clusters away from the edges of a window, and of those at them."""
    return np.zeros((2, POWERS, 4), np.int64)


@njit(cache=True)
def find(nodes, i):
    """Return (root, x, y): the root of node i, and by how many widths and heights i's sites are moved to stand beside its."""
    x, y = np.int64(0), np.int64(0)
    while nodes[i, PARENT] != i:
        parent = nodes[i, PARENT]
        nodes[i, KX] += nodes[parent, KX]  # path halving; a root's are 0
        nodes[i, KY] += nodes[parent, KY]
        i_next = nodes[parent, PARENT]
        nodes[i, PARENT] = i_next
        x += nodes[i, KX]
        y += nodes[i, KY]
        i = i_next
    return i, x, y


@njit(cache=True)
def wind(nodes, i, x, y):
    """Note that root i winds around the torus x times along rows and y times along columns."""
    if x < 0 or (x == 0 and y < 0):
        x, y = -x, -y
    if nodes[i, WX] == 0 and nodes[i, WY] == 0:
        nodes[i, WX], nodes[i, WY] = x, y
    elif nodes[i, WX] * y != nodes[i, WY] * x:
        nodes[i, FLAGS] |= CROSS


@njit(cache=True)
def join(nodes, i, j, step, shape):
    """Join nodes i and j by a bond; step (x, y): by how many widths and heights j's sites are moved to be i's neighbours."""
    a, ax, ay = find(nodes, i)
    b, bx, by = find(nodes, j)
    x, y = ax + step[0] - bx, ay + step[1] - by
    if a == b:
        if x != 0 or y != 0:
            wind(nodes, a, x, y)
        return
    if b < a:
        a, b, x, y = b, a, -x, -y
    dx, dy, one, other = x * shape[1], y * shape[0], nodes[a], nodes[b]
    one[SQ] += other[SQ] + 2 * (dx * other[SX] + dy * other[SY]) + other[SIZE] * (dx * dx + dy * dy)
    one[SX] += other[SX] + dx * other[SIZE]
    one[SY] += other[SY] + dy * other[SIZE]
    one[SIZE] += other[SIZE]
    one[FIRST] = min(one[FIRST], other[FIRST])
    one[LEFT], one[RIGHT] = min(one[LEFT], other[LEFT] + dx), max(one[RIGHT], other[RIGHT] + dx)
    one[TOP], one[BOTTOM] = min(one[TOP], other[TOP] + dy), max(one[BOTTOM], other[BOTTOM] + dy)
    one[FLAGS] |= other[FLAGS]
    if other[WX] != 0 or other[WY] != 0:
        wind(nodes, a, other[WX], other[WY])
    other[PARENT], other[KX], other[KY] = a, x, y


@njit(forceinline=True)
def _mean(total, size):
    """Return (floor of total / size, the rest / size)."""
    at = np.int64(np.floor(total / size))
    rest = total - at * size
    if rest < 0:  # a quotient rounded up
        at, rest = at - 1, rest + size
    return at, rest / size


@njit(cache=True)
def squared_radius(size, sx, sy, sq):
    """Return the squared radius of gyration, float64, of sites with these sums."""
    x, more_x = _mean(sx, size)
    y, more_y = _mean(sy, size)
    inertia = sq - 2 * (x * sx + y * sy) + size * (x * x + y * y)  # about (x, y), modulo 2^64
    return inertia / size - more_x * more_x - more_y * more_y


@njit(forceinline=True)
def power_of_two(number):
    """Return the largest k with 2^k <= number: all bits below the highest are set, and counted, without a branch."""
    for shift in (1, 2, 4, 8, 16, 32):
        number |= number >> shift
    return popcount(np.uint64(number)) - 1


@njit(forceinline=True)
def add_to_tally(tally, size, sx, sy, sq):
    """Add a complete cluster of this size and these sums to a tally (POWERS, 4)."""
    row = tally[power_of_two(size)]
    row[COUNT] += 1
    row[SITES] += size
    row[SQUARES] += size * size
    if size > 1:
        row[RADII] += np.int64(np.rint(squared_radius(size, sx, sy, sq) / RADIUS_UNIT))


@njit(cache=True)
def count_closed(closed, tally, least_kept):
    """Add complete records to the tally; move those that wind, or have least_kept sites, to the front. Return their number."""
    n_kept = 0
    for i in range(len(closed)):
        one = closed[i]
        if one[SIZE] >= least_kept or one[WX] != 0 or one[WY] != 0:
            for column in range(COLUMNS):
                closed[n_kept, column], closed[i, column] = closed[i, column], closed[n_kept, column]
            n_kept += 1
        else:
            add_to_tally(tally[one[FLAGS] & EDGE], one[SIZE], one[SX], one[SY], one[SQ])
    return n_kept
