"""What a page may ask for: each path with its numbers, every one of them checked; anything else is a Refusal with a sentence."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from ising_rg.run.kinds import KINDS

LARGEST = 8192  # sites per side of a window that is handed out
_WHOLE = re.compile(r"[0-9]{1,20}")
_NAMES = {
    "/lattice": ("seed", "xi"),
    "/tile": ("seed", "xi", "level", "x", "y"),
    "/spins.npy": ("seed", "xi", "level", "row", "column", "height", "width"),
    "/spins.json": ("seed", "xi", "level", "row", "column", "height", "width"),
    "/curve": ("seed", "xi", "level", "row", "column", "height", "width"),
}


class Refusal(Exception):
    """What is answered with a status other than 200, and a sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def asked(path: str, query: str, n_levels: int) -> dict[str, int | float | str]:
    """Return the numbers of a request by name; seed, xi and level are checked, places only for being whole numbers.

    Raises:
        Refusal: 404 for another path, 400 for other names or values.
    """
    if path not in _NAMES:
        raise Refusal(404, "There is no such page.")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=16)
    except ValueError:
        pairs = []
    names = _NAMES[path]
    if sorted(name for name, _ in pairs) != sorted(names):
        raise Refusal(400, f"{path[1:]}: needed {', '.join(names)}, each once.")
    values = dict(pairs)
    numbers = {name: _xi(values[name]) if name == "xi" else _whole(name, values[name]) for name in names}
    if numbers["seed"] >= 2**64:
        raise Refusal(400, f"seed: needed {KINDS['SEED'].needed}.")
    if numbers.get("level", 0) >= n_levels:
        raise Refusal(400, f"level: found {numbers['level']}, needed 0 to {n_levels - 1}.")
    return numbers


def window(numbers: dict, side: int, smallest: int = 1) -> tuple[int, int, int, int]:
    """Return (row, column, height, width) of a window of a level of so many sites a side; it may lie across a seam.

    Raises:
        Refusal: beyond the lattice, or too large or small.
    """
    for name in ("row", "column"):
        if numbers[name] >= side:
            raise Refusal(400, f"{name}: found {numbers[name]}, needed 0 to {side - 1}.")
    most = min(LARGEST, side)
    for name in ("height", "width"):
        if not smallest <= numbers[name] <= most:
            raise Refusal(400, f"{name}: found {numbers[name]}, needed {smallest} to {most}.")
    return tuple(numbers[name] for name in ("row", "column", "height", "width"))


def _whole(name, text):
    if not _WHOLE.fullmatch(text):
        raise Refusal(400, f"{name}: needed a whole number of at most 20 digits.")
    return int(text)


def _xi(text):
    kind = KINDS["XI"]
    try:
        if len(text) > 30 or not text.isascii() or text == "":
            raise ValueError
        return kind.take(text)
    except (ValueError, OverflowError):
        raise Refusal(400, f"xi: needed {kind.needed.removesuffix(', or ' + chr(34) * 2)}.") from None
