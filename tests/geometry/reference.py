"""Slow references: clusters by breadth-first search, walls by following them, one site and one step at a time.

Both walk on the plane that covers the torus, so that windings, areas and radii are read off where they end.
"""

from collections import deque

import numpy as np

# Directions: right, down, left, up.
_DX, _DY = (1, 0, -1, 0), (0, 1, 0, -1)


def clusters(right, down, torus=True):
    """Return one dict a cluster, in raster order of first sites, and its labels, int (H, W).

    right, down: bool (H, W): whether the bond of each site to its right, and down, is open.
    """
    height, width = right.shape
    label = np.full((height, width), -1)
    found = []
    for first in range(height * width):
        if label[divmod(first, width)] >= 0:
            continue
        place = {divmod(first, width): (0, 0)}  # site: its (width, height) numbers on the covering plane
        queue, windings = deque(place), set()
        while queue:
            y, x = queue.popleft()
            label[y, x] = len(found)
            for direction in range(4):
                y1, x1 = y + _DY[direction], x + _DX[direction]
                ky, kx = y1 // height, x1 // width
                if not torus and (ky or kx):
                    continue
                y1, x1 = y1 % height, x1 % width
                bond = (right[y, x], down[y, x], right[y1, x1], down[y1, x1])[direction]
                if not bond:
                    continue
                there = (place[y, x][0] + kx, place[y, x][1] + ky)
                if (y1, x1) not in place:
                    place[y1, x1] = there
                    queue.append((y1, x1))
                elif place[y1, x1] != there:
                    winding = there[0] - place[y1, x1][0], there[1] - place[y1, x1][1]
                    windings.add(max(winding, (-winding[0], -winding[1])))
        found.append(_described(place, windings, first, (height, width)))
    return found, label


def _described(place, windings, first, shape):
    height, width = shape
    x = np.array([width * place[site][0] + site[1] for site in place])
    y = np.array([height * place[site][1] + site[0] for site in place])
    some = next(iter(windings), (0, 0))
    cross = any(some[0] * b - some[1] * a for a, b in windings)
    edge = any(site[0] in (0, height - 1) or site[1] in (0, width - 1) for site in place)
    return {
        "size": len(place),
        "first": first,
        "radius": float(np.var(x) + np.var(y)),
        "extent": (int(np.ptp(x)) + 1, int(np.ptp(y)) + 1),
        "winding": windings,
        "cross": cross,
        "edge": edge,
    }


def walls(up, torus=True):
    """Return one (length, area, winding x, winding y) a loop between unlike neighbours, and the lengths of pieces cut by the edges.

    up: bool (H, W). Up spins stand on the left; where four walls meet, the walker turns left, around the up spin that it follows.
    """
    height, width = up.shape
    seen, found, cut = set(), [], []

    def sites(y, x, direction):
        """Return (left, right) of the step from corner (x, y), below and right of site (x, y); None beyond an edge."""
        left, right = {
            0: ((y, x + 1), (y + 1, x + 1)),
            1: ((y + 1, x + 1), (y + 1, x)),
            2: ((y + 1, x), (y, x)),
            3: ((y, x), (y, x + 1)),
        }[direction]
        if not torus and not all(0 <= a < height and 0 <= b < width for a, b in (left, right)):
            return None
        return tuple(bool(up[a % height, b % width]) for a, b in (left, right))

    def following(y, x, direction):
        y, x = y + _DY[direction], x + _DX[direction]
        for turn in (3, 0, 1):
            after = (direction + turn) % 4
            if sites(y, x, after) == (True, False):
                return y, x, after
        return None

    starts = [
        (y, x, direction)
        for y in range(-1, height)
        for x in range(-1, width)
        for direction in range(4)
        if sites(y, x, direction) == (True, False) and (not torus or (y >= 0 and x >= 0))
    ]
    if not torus:  # pieces first, from the ends where nothing leads to them
        led_to = {following(*start) for start in starts}
        starts.sort(key=lambda start: start in led_to)
    for start in starts:
        at, length, area, winding = start, 0, 0, [0, 0]
        key = (start[0] % height, start[1] % width, start[2]) if torus else start
        if key in seen:
            continue
        while at is not None and key not in seen:
            seen.add(key)
            y, x, direction = at
            length += 1
            area += y * _DX[direction]
            winding[0] += _DX[direction]
            winding[1] += _DY[direction]
            at = following(*at)
            if at is not None:
                key = (at[0] % height, at[1] % width, at[2]) if torus else at
        if at is None:
            cut.append(length)
        else:
            found.append((length, area, winding[0] // width, winding[1] // height))
    return found, cut
