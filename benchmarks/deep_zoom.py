"""The picture of viewing.py's page: screenshots at 25 sites a pixel, at 2, and at 20 pixels a site, side by side.

    python -m benchmarks.deep_zoom --input=results/viewing

Needs Chromium, and pages that viewing.py has written; of several the first is shown.
"""

import glob
import os

import numpy as np
from PIL import Image

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import settings
from tests import browser

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
INPUT = "results/viewing"            # folder of the page
PLACE = (5750, 8000)                 # x, y of the site in the middle of the last two
PICTURE = "gallery/deep_zoom.png"    # where the picture goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_SIZE, _GAP = (720, 600), 10  # pixels


def main(s):
    pages = sorted(glob.glob(os.path.join(glob.escape(s.INPUT), "*.html")))
    if not pages or browser.PROGRAM is None:
        raise UserError(
            f"{s.INPUT}: found {len(pages)} pages, chromium: {browser.PROGRAM}; needed both, run viewing.py"
        )
    x, y = s.PLACE
    shown = []
    for address in ("", f"#x={x}&y={y}&zoom=0.5", f"#x={x}&y={y}&zoom=20"):
        with browser.opened(f"file://{os.path.abspath(pages[0])}{address}", *_SIZE) as page:
            page.wait("item.getFullyLoaded() && !viewer.isAnimating()")
            shown += [page.screenshot(), np.full((_SIZE[1], _GAP, 3), 255, np.uint8)]
    with storage.written_whole(s.PICTURE) as file:
        Image.fromarray(np.concatenate(shown[:-1], 1)).save(file, "PNG", optimize=True)
    print(f"written: {s.PICTURE}")


if __name__ == "__main__":
    settings.run(main, globals())
