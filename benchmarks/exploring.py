"""How long a page waits for its tiles, and how much memory a long walk takes.

    python -m benchmarks.exploring

Starts exploring.py's server in a process of its own and asks it as a browser does, over six connections. Times go from request to
answer, medians and 95 %: tiles of several stages, one after the other, at random places and beside each other; screens of
1920 x 1080 pixels at new places, one pixel a spin; then a walk, half its steps to a neighbour, half to anywhere, over several seeds
and correlation lengths. The last line is JSON.
"""

import http.client
import json
import multiprocessing
import threading
import time

import numpy as np
import psutil

from ising_rg.exploring.atlas import TILE
from ising_rg.exploring.atlases import Atlases
from ising_rg.exploring.server import Server
from ising_rg.run import settings

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
START_SIZE = 512                     # sites per side of the start lattice
STAGES = 15                          # of the lattice
REPEATS = 40                         # tiles of each kind
SCREENS = 8                          # screens at new places
STEPS = 2000                         # requests of the walk
CACHE = "256MiB"                     # as of exploring.py
KERNEL_FILE = "models/conditional_k5_s3.pt"  # as of exploring.py
SEED = 1                             # of the places and the first lattice
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_CONNECTIONS = 6  # of a browser to one host
_SCREEN = (1920, 1080)


def main(s):
    ports = multiprocessing.get_context("spawn").SimpleQueue()
    process = multiprocessing.get_context("spawn").Process(target=server, args=(s, ports), daemon=True)
    process.start()
    browser = Browser(ports.get())
    try:
        browser.get(tile(s.SEED, "critical", s.STAGES, 0, 0))  # compiles, and makes the start lattice
        result = {"tiles": tiles(s, browser), "screen": screens(s, browser), "walk": walk(s, browser, process.pid)}
    finally:
        process.kill()
    print(json.dumps(result))


def server(s, ports):
    told = {"START_SIZE": s.START_SIZE, "STAGES": s.STAGES, "KERNEL_FILE": s.KERNEL_FILE}
    atlases = Atlases(settings.memory_budget(s.CACHE, name="CACHE"), s.STAGES, s.START_SIZE, s.KERNEL_FILE)
    listening = Server(("127.0.0.1", 0), atlases, (s.SEED, "critical"), told)
    ports.put(listening.port)
    listening.serve_forever()


class Browser:
    """Asks the server, over one connection a thread, kept open."""

    def __init__(self, port):
        self.port, self.own, self.failed = port, threading.local(), 0

    def get(self, path):
        """Return the seconds until the answer was there."""
        if not hasattr(self.own, "connection"):
            self.own.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        start = time.perf_counter()
        self.own.connection.request("GET", path)
        answer = self.own.connection.getresponse()
        answer.read()
        self.failed += answer.status != 200
        return time.perf_counter() - start

    def together(self, paths):
        """Return the seconds until all of some paths were there."""
        left, start = iter(paths), time.perf_counter()

        def work():
            for path in left:
                self.get(path)

        threads = [threading.Thread(target=work) for _ in range(_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start


def tile(seed, xi, level, x, y):
    return f"/tile?seed={seed}&xi={xi}&level={level}&x={x}&y={y}"


def quantiles(seconds):
    """Return the median and the 95 % quantile in ms."""
    return [float(q) for q in np.quantile(np.array(seconds) * 1e3, (0.5, 0.95))]


def tiles(s, browser):
    """Print and return ms of tiles by stage."""
    rng, rows = np.random.default_rng(s.SEED), []
    print(f"{'stage':>5} {'random, ms':>11} {'95 %':>7} {'neighbour':>10} {'95 %':>7}")
    for stage in [stage for stage in (0, 5, 10, 15) if stage <= s.STAGES]:
        n = -(-s.START_SIZE * 3**stage // TILE)
        far, near, seed = [], [], s.SEED
        for number in range(s.REPEATS):
            seed = s.SEED + 1000 + number if n == 1 else s.SEED  # the only tile of the start lattice: of other seeds
            x, y = (int(place) for place in rng.integers(0, n, 2))
            far.append(browser.get(tile(seed, "critical", stage, x, y)))
            near.append(browser.get(tile(seed, "critical", stage, (x + 1) % n, y)))
        row = {"stage": stage, "random": quantiles(far), "neighbour": quantiles(near)}
        rows.append(row)
        print(
            f"{stage:5d} {row['random'][0]:11.1f} {row['random'][1]:7.1f} {row['neighbour'][0]:10.1f} {row['neighbour'][1]:7.1f}",
            flush=True,
        )
    return rows


def screens(s, browser):
    """Print and return ms of screens at new places of the last stage."""
    rng, n, seconds = np.random.default_rng(s.SEED + 1), s.START_SIZE * 3**s.STAGES // TILE, []
    columns, rows = (-(-side // TILE) + 1 for side in _SCREEN)  # as many as it may touch
    for _ in range(s.SCREENS):
        x, y = (int(place) for place in rng.integers(0, n - 8, 2))
        paths = [tile(s.SEED, "critical", s.STAGES, x + i, y + j) for j in range(rows) for i in range(columns)]
        seconds.append(browser.together(paths))
    found = quantiles(seconds)
    print(f"a screen of {_SCREEN[0]} x {_SCREEN[1]}, {columns * rows} tiles: {found[0]:.0f} ms, 95 % {found[1]:.0f} ms")
    return found


def walk(s, browser, pid):
    """Print and return what a walk of many requests takes: seconds, memory beyond that before the first, requests that failed."""
    rng, process = np.random.default_rng(s.SEED + 2), psutil.Process(pid)
    start, before, most, level, x, y = time.perf_counter(), process.memory_info().rss, 0, 0, 0, 0
    lattice = (s.SEED, "critical")
    for step in range(s.STEPS):
        if rng.random() < 0.5:
            level = int(rng.integers(0, s.STAGES + 1))
            x, y = (int(place) for place in rng.integers(0, -(-s.START_SIZE * 3**level // TILE), 2))
        x = (x + 1) % -(-s.START_SIZE * 3**level // TILE)
        if step % 100 == 0:
            lattice = (s.SEED + int(rng.integers(0, 9)), "critical" if rng.random() < 0.7 else "1e8")
        if step % 50 == 7:
            side = min(4096, s.START_SIZE * 3**level)
            browser.get(f"/spins.npy?seed={s.SEED}&xi=critical&level={level}&row=0&column=0&height={side}&width={side}")
        browser.get(tile(*lattice, level, x, y))
        most = max(most, process.memory_info().rss)
    seconds, beyond = time.perf_counter() - start, max(0, most - before)
    print(
        f"a walk of {s.STEPS} requests: {seconds:.0f} s, {settings.in_units(beyond)} of memory beyond what it began with (CACHE "
        f"{s.CACHE}), {browser.failed} failed"
    )
    return {"seconds": seconds, "bytes": beyond, "failed": browser.failed, "steps": s.STEPS}


if __name__ == "__main__":
    settings.run(main, globals())
