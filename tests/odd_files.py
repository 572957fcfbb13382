"""Files with lattices as some program, some disk or some person may leave them: a generator."""

import io
import json

import numpy as np
import torch
from PIL import Image

from ising_rg.files import foreign

NAMES = [
    "spins.npy",
    "\u0441\u043f\u0438\u043d\u044b.dat",
    "a b (1).NPY",
    "-x.csv",
    "no end",
    "spins[0].npz",
    "\udcff.npy",
]
NAMES += ["$x_{1}$.txt", ".npy"]


def make(random, lattices):
    """Return (name, content) of a file.

    Args:
        random: a random.Random.
        lattices: list of int8 spins (L, L), one of which it holds, if anything.
    """
    array = random.choice(_FORMS)(random, random.choice(lattices))
    file = io.BytesIO()
    try:
        random.choice(_CONTAINERS)(random, array, file)
    except Exception:  # a container that does not take this array
        file = io.BytesIO()
    if not file.getvalue():
        np.save(file, array, allow_pickle=True)
    content = file.getvalue()
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        content = _damaged(random, content)
    return random.choice(NAMES), content


def _bits(random, spins):
    order = random.choice(["big", "little"])
    return np.packbits(spins > 0, axis=random.choice([0, 1, 1, None]), bitorder=order)


def _shapes(random, spins):
    return random.choice(
        [spins[None, None], spins[..., None], spins[:, :-1], spins[:-1, :-1], spins.ravel(), spins[:0], spins[:2, :2]]
        + [np.int8(1), np.stack([spins, -spins]), np.stack([spins] * 12)]
    )


_DTYPES = ["i2", ">i4", "i8", "u1", "f2", "f8", ">f8", "c8", "U2", "O", "M8[s]", "g"]
_FORMS = [
    lambda random, spins: spins,
    lambda random, spins: (spins > 0).astype(random.choice(["?", "u1", "i1", ">i2", "f4"])),
    lambda random, spins: spins.astype(random.choice(_DTYPES)),
    lambda random, spins: (spins > 0) * np.uint8(random.choice([2, 127, 255])),
    lambda random, spins: spins * random.choice([0, 0.5, 2, np.nan, np.inf]),
    lambda random, spins: spins.view([("spin", "i1")]),
    lambda random, spins: random.choice([spins[::-1, ::2], spins.T, np.asfortranarray(spins), spins[::2, ::2]]),
    _bits,
    _shapes,
]


def _npz(random, array, file):
    np.savez(file, **random.choice([{"a": array}, {"a": array, "b": array}, {"a": array, "beta": np.array(0.44)}, {}]))


def _text(random, array, file):
    text = io.StringIO()
    np.savetxt(text, array, fmt=random.choice(["%d", "%.3e"]), delimiter=random.choice(" ,;|"))
    words = random.choice(["", "# L = 64\n", "x,y\n"]) + text.getvalue()
    old, new = random.choice([("", ""), ("-", "\u2212"), ("\n", "\r\n"), ("1", "1,0")])
    encoding = random.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "utf-32"])
    file.write((words.replace(old, new) if old else words).encode(encoding, "replace"))


def _picture(random, array, file):
    Image.fromarray(array).save(file, random.choice(["PNG", "PNG", "BMP", "GIF", "TIFF", "JPEG"]))


def _pt(random, array, file):
    tensor = torch.from_numpy(array)
    contents = [tensor, {"spins": tensor}, [tensor], tensor.to(torch.bfloat16), {"a": tensor, "b": tensor}]
    torch.save(random.choice(contents), file)


def _appended(random, array, file):
    np.save(file, array)
    np.save(file, random.choice([array, array[:1], np.zeros(3)]))


def _magic(random, array, file):
    file.write(random.choice([*foreign._READERS, *foreign._NO_SPINS, *foreign._ENCODINGS]) + array.tobytes())


def _npy(random, array, file):
    np.save(file, array, allow_pickle=True)


_CONTAINERS = [
    *[_npy] * 4,
    *(_npz, _text, _text, _picture, _pt, _appended, _magic),
    lambda random, array, file: file.write(array.tobytes()),
    lambda random, array, file: file.write(json.dumps(array.tolist()).encode()),
    lambda random, array, file: file.write(array.dumps()),
]


def _damaged(random, content):
    """Return bytes truncated, lengthened, or with a few of them changed, most often among the first."""
    place = random.randrange(min(len(content), random.choice([16, 128, 10**9]))) if content else 0
    return random.choice(
        [
            content[:place],
            content[place:],
            content + content[place : place + 9],
            content[:place] + bytes([random.randrange(256)]) + content[place + 1 :],
            content[:place] + bytes(random.randrange(1, 9)) + content[place:],
        ]
    )
