"""All 65,536 states of the 4 x 4 torus: clusters and walls against a flood fill and a walker, in one compiled loop."""

import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.geometry import cluster_seams, clusters, loop_seams, loops, records

L = 4
NO_KEY = (np.uint64(0), np.uint64(0))


@njit
def flood(state, seen, queue):
    """Return sums over clusters: (number, sum of size^2, sum of size^3, those that wind, crosses)."""
    seen[:] = -99
    number, squares, cubes, wind, crosses = 0, 0, 0, 0, 0
    for first in range(16):
        if seen[first, 0] != -99:
            continue
        size, done, wx, wy, cross = 1, 0, 0, 0, False
        queue[0], seen[first] = first, 0
        while done < size:
            site = queue[done]
            done += 1
            for direction in range(4):
                x, y = site % 4 + (1, 0, -1, 0)[direction], site // 4 + (0, 1, 0, -1)[direction]
                other = 4 * (y % 4) + x % 4
                if (state >> site & 1) != (state >> other & 1):
                    continue
                kx, ky = seen[site, 0] + x // 4, seen[site, 1] + y // 4
                if seen[other, 0] == -99:
                    seen[other, 0], seen[other, 1] = kx, ky
                    queue[size] = other
                    size += 1
                elif wx == 0 and wy == 0:
                    wx, wy = kx - seen[other, 0], ky - seen[other, 1]
                else:
                    cross |= wx * (ky - seen[other, 1]) != wy * (kx - seen[other, 0])
        number, squares, cubes = number + 1, squares + size**2, cubes + size**3
        wind, crosses = wind + (wx != 0 or wy != 0), crosses + cross
    return number, squares, cubes, wind, crosses


@njit
def is_wall(state, x, y, direction):
    """Tell whether a step from the corner below and right of (x, y) has an up spin on its left and a down spin on its right."""
    ahead = ((1, 0, 1, 1), (1, 1, 0, 1), (0, 1, 0, 0), (0, 0, 1, 0))[direction]
    left, right = 4 * ((y + ahead[1]) % 4) + (x + ahead[0]) % 4, 4 * ((y + ahead[3]) % 4) + (x + ahead[2]) % 4
    return state >> left & 1 == 1 and state >> right & 1 == 0


@njit
def walk(state, seen):
    """Return sums over loops: (number, sum of length^2, those that do not wind, their areas, sums of |winding x|, |winding y|)."""
    seen[:] = False
    number, squares, plain, areas, around_x, around_y = 0, 0, 0, 0, 0, 0
    for start in range(64):
        x, y, direction = start % 4, start // 4 % 4, start // 16
        if seen[start] or not is_wall(state, x, y, direction):
            continue
        length, area, at = 0, 0, start
        while not seen[at]:
            seen[at] = True
            length += 1
            area += y * (1, 0, -1, 0)[direction]
            x, y = x + (1, 0, -1, 0)[direction], y + (0, 1, 0, -1)[direction]
            for turn in (3, 0, 1):
                if is_wall(state, x, y, (direction + turn) % 4):
                    direction = (direction + turn) % 4
                    break
            at = 16 * direction + 4 * (y % 4) + x % 4
        wx, wy = abs(x - start % 4) // 4, abs(y - start // 4 % 4) // 4
        number, squares = number + 1, squares + length**2
        around_x, around_y = around_x + wx, around_y + wy
        if wx == 0 and wy == 0:
            plain, areas = plain + 1, areas + abs(area)
    return number, squares, plain, areas, around_x, around_y


@njit
def sums_of_records(closed):
    number, squares, cubes, wind, crosses = 0, 0, 0, 0, 0
    for one in closed:
        size = one[records.SIZE]
        number, squares, cubes = number + 1, squares + size**2, cubes + size**3
        wind += one[records.WX] != 0 or one[records.WY] != 0
        crosses += one[records.FLAGS] & records.CROSS != 0
    return number, squares, cubes, wind, crosses


@njit
def first_difference(strip, so_far, pieces, walls, closed, digits, links):
    """Return the first state that the fast path counts otherwise than the references do, or -1."""
    words, seen, queue, passed = (
        np.zeros((5, 1), np.uint64),
        np.zeros((16, 2), np.int64),
        np.zeros(16, np.int64),
        np.zeros(64, np.bool_),
    )
    no_pairs = np.empty((0, 2), np.int64)
    for state in range(65536):
        for y in range(5):
            words[y, 0] = np.uint64(state >> 4 * (y % 4) & 15)
        so_far.counts[:] = 0
        clusters.draw_bonds(strip, words, 0, NO_KEY, digits, (0, 0))
        clusters.label(strip, 4, 0, 1, 1)
        so_far.down[:] = 0
        before = cluster_seams.take(so_far, strip)
        cluster_seams.join_rows(so_far, strip.around[: strip.counts[clusters.N_AROUND]].astype(np.int64), 0, (4, 4))
        cluster_seams.step_down(so_far, strip, 4, before)
        so_far.below[:], so_far.starts[2] = so_far.top, so_far.starts[0]
        cluster_seams.join_rows(so_far, no_pairs, 1, (4, 4))
        n = cluster_seams.sort_out(so_far, closed, links, False)
        if sums_of_records(closed[:n]) != flood(state, seen, queue):
            return state
        walls.counts[:] = 0
        walls.tally[:] = 0
        loops.trace(pieces, words[:4], 0, 4, 1)
        loop_seams.glue(walls, pieces, loop_seams.take(walls, pieces), 0)
        loop_seams.free_others(walls)
        walls.changes[2] = walls.changes[0]
        loop_seams.close(walls, loops.cross(walls, 4, 4, 1, walls.first_up[0]), (4, 4))
        number, squares, plain, areas, around_x, around_y = walk(state, passed)
        winding = walls.winding[: walls.counts[loops.N_WINDING]]
        found = walls.tally.sum(0)
        if found[loops.LENGTHS] != plain or found[loops.AREAS] != plain or found[loops.SUM_OF_AREAS] != areas:
            return state
        if (
            len(winding) != number - plain
            or np.abs(winding[:, 1]).sum() != around_x
            or np.abs(winding[:, 2]).sum() != around_y
        ):
            return state
    return -1


def test_all_states_of_4_x_4():
    strip = clusters.strip(L, L, 1)
    closed = np.zeros((64, records.COLUMNS), np.int64)
    nothing = np.empty(0, np.uint64), np.empty(0, np.int64)
    pieces, walls = loops.pieces(L, L, 32), loops.pieces(L, L, 64)
    assert first_difference(strip, cluster_seams.opened(strip), pieces, walls, closed, *nothing) == -1
