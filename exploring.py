"""An endless zoom in the browser: from a torus of 7.3 x 10^9 sites a side, through its stages, down to single spins, anywhere.

    python exploring.py
    python exploring.py --seed=7 --xi=1e6
    python exploring.py --film=results/zoom.webp --film_place=5000000000,42

Nothing is on disk: a tile is drawn when somebody looks at it. Each step of three is a stage: zooming in is the inverse
renormalization step. The page's address ends in #seed=..&xi=..&x=..&y=..&zoom=.. (pixels a site). "These spins" hands out what is
on screen as .npy, with a JSON that checking.py reads. Ctrl-C ends it. With FILM a film of the way in is written instead.
"""

import os
import threading
import webbrowser
from types import SimpleNamespace

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
from ising_rg.base.errors import UserError
from ising_rg.exploring import film
from ising_rg.exploring.atlases import Atlases
from ising_rg.exploring.server import Server, loopback, serve, told
from ising_rg.files import storage
from ising_rg.growth import ahead
from ising_rg.run import folders, settings

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SEED = 1                             # names the lattice; the page can show others
START_SIZE = 512                     # sites per side of the start lattice lattice, even, at most 4096
STAGES = 15                          # each triples the side: 512 -> 7346640384
XI = ""                              # correlation length of the last stage in sites, minus below T_c; "": critical
KERNEL_FILE = "models/conditional_k5_s3.pt"  # from kernel_training_pixel_shuffle.py
CACHE = "256MiB"                     # of memory for what was drawn, at most
PORT = 0                             # where the page is served; 0: any free port
LISTEN = "127.0.0.1"                 # this machine alone; another address shows the page to others
OPEN_BROWSER = True                  # open the page
FILM = ""                            # a file to write instead of serving: .webp, .gif, or .mp4 where ffmpeg is there
FILM_PLACE = "auto"                  # x,y of the site that the film flies to; "auto": where up and down meet
FILM_LENGTH = 9                      # seconds
FILM_SIZE = 320                      # pixels per side
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_LARGEST_START, _LEAST_CACHE = 4096, 2**24
# What a film depends on; it is kept in it.
_DECISIVE = ("SEED", "START_SIZE", "STAGES", "XI", "KERNEL_FILE", "FILM_PLACE", "FILM_LENGTH", "FILM_SIZE")


def main(s):
    check(s)
    ahead.start(ahead.UNCHECKED)
    atlases = Atlases(settings.memory_budget(s.CACHE, name="CACHE"), s.STAGES, s.START_SIZE, s.KERNEL_FILE)
    atlas = atlases.atlas(s.SEED, s.XI or "critical")
    L = atlas.levels[-1].side
    if s.FILM:
        folders.claim(os.path.dirname(s.FILM) or ".", os.path.basename(s.FILM))
        place = film.balanced(atlas) if s.FILM_PLACE == "auto" else s.FILM_PLACE
        decisive = SimpleNamespace(**{name: getattr(s, name) for name in _DECISIVE})
        about = settings.provenance(decisive, kernel_sha256=storage.sha256(s.KERNEL_FILE))
        n_frames = film.write(s.FILM, atlas, place, s.FILM_LENGTH, s.FILM_SIZE, about)
        print(f"written: {s.FILM}, {n_frames} frames, {os.path.getsize(s.FILM) / 1e6:.1f} MB")
        return
    server = Server((s.LISTEN, s.PORT), atlases, (s.SEED, s.XI or "critical"), told(s))
    if not loopback(s.LISTEN):
        print(
            f"warning: LISTEN = {s.LISTEN}: whoever reaches this machine's port {server.port} can look and let it draw"
        )
    print(f"{L} x {L} sites, {s.STAGES} stages; open {server.url} ; Ctrl-C ends")
    threading.Thread(target=warm, args=(atlases, server.first), daemon=True).start()
    opening = threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True)
    serve(server, opening.start if s.OPEN_BROWSER else lambda: None)


def warm(atlases, lattice):
    """Draw the whole lattice, and see to it that the stages are compiled, while the browser starts."""
    atlases.tile(lattice, (0, 0, 0))
    with atlases.turns.turn():
        ahead.ready(*ahead.UNCHECKED)


def check(s):
    if s.START_SIZE > _LARGEST_START:
        raise UserError(f"START_SIZE: found {s.START_SIZE}, needed at most {_LARGEST_START}; take more STAGES")
    if s.CACHE != "auto" and settings.memory_budget(s.CACHE, name="CACHE") < _LEAST_CACHE:
        raise UserError(f"CACHE: found {s.CACHE}, needed at least {settings.in_units(_LEAST_CACHE)}, or auto")
    if not s.FILM:
        return
    storage.keep_inputs([s.KERNEL_FILE], [s.FILM])
    film.check(s.FILM)
    L = s.START_SIZE * 3**s.STAGES
    if s.FILM_PLACE != "auto" and not (
        isinstance(s.FILM_PLACE, tuple) and len(s.FILM_PLACE) == 2 and max(s.FILM_PLACE) < L
    ):
        raise UserError(f"FILM_PLACE: found {s.FILM_PLACE}, needed x,y below {L}, or auto")


if __name__ == "__main__":
    settings.run(main, globals())
