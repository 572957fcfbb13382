"""What each setting may be: one table for all scripts, in which a name means the same thing wherever it stands.

A kind has `read(text)`, which makes a value of what follows "--name="; `take(value)`, which returns the value as the
scripts use it; and `needed`, which says in words what it takes. Both raise ValueError, TypeError or OverflowError for anything
else. Constants at the top of a script and arguments of the command line go through the same `take`.
"""

from __future__ import annotations

import math
import numbers
import os
import re
from dataclasses import dataclass

MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) *([KMGT]i?B?|B)?", re.IGNORECASE)  # 512MiB, 2GiB, 1e9 is none


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`; `note` is added to what is needed. A float without a fraction is one."""

    low: int
    high: int
    even: bool = False
    note: str = ""

    @property
    def needed(self) -> str:
        what = "an even" if self.even else "a whole"
        return f"{what} number from {_power(self.low)} to {_power(self.high)}{self.note}"

    def read(self, text: str) -> int | float:
        try:
            return int(text)
        except ValueError:
            return float(text)  # 1e6

    def take(self, value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not self.low <= value <= self.high or (self.even and value % 2):
            raise ValueError
        return value


@dataclass(frozen=True)
class Number:
    """A real number from `low` to `high`; never NaN."""

    low: float = -1e308
    high: float = 1e308
    what: str = "a number"
    note: str = ""

    @property
    def needed(self) -> str:
        return f"{self.what} from {self.low:g} to {self.high:g}{self.note}"

    def read(self, text: str) -> float:
        return float(text)

    def take(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        if not self.low <= float(value) <= self.high:
            raise ValueError
        return float(value)


class Flag:
    """True or False."""

    needed = "True or False (--name=true or --name=false)"

    def read(self, text: str) -> bool | None:
        return {"true": True, "false": False}.get(text.lower())

    def take(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value


class Text:
    """Any text."""

    needed = "a text in quotation marks"

    def read(self, text: str) -> str:
        return text

    def take(self, value: object) -> str:
        if not isinstance(value, str):
            raise TypeError
        return value


@dataclass(frozen=True)
class Choice(Text):
    """One of some words."""

    words: tuple

    @property
    def needed(self) -> str:
        return f"one of {', '.join(self.words)}"

    def take(self, value: object) -> str:
        if super().take(value) not in self.words:
            raise ValueError
        return value


@dataclass(frozen=True)
class FileName(Text):
    """The name of a file or folder, a text or a pathlib.Path, with ~ for the home folder; empty only where it is `optional`."""

    optional: bool = False

    @property
    def needed(self) -> str:
        unknown = "; no home folder is known here for ~" if _homeless("~") else ""
        return "the name of a file or folder" + (', or "" for none' if self.optional else "") + unknown

    def take(self, value: object) -> str:
        value = os.fspath(value)
        if not isinstance(value, str) or not (value.strip() or self.optional and not value):
            raise ValueError
        if any(character < " " or character == "\x7f" for character in value):  # NUL, and what breaks lines of output
            raise ValueError
        if _homeless(value):
            raise ValueError
        return os.path.expanduser(value)


def _homeless(path):
    """Tell whether a path begins with a ~ that stands for no folder: it would become one of that name."""
    return os.path.expanduser(path).replace("\\", "/").split("/")[0] == "~"


class Memory(Text):
    """ "auto", or bytes: a number, or a text with a unit. A text is returned."""

    needed = "auto, or bytes such as 512MiB or 2GiB"

    def take(self, value: object) -> str:
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            value = str(Whole(0, 10**15).take(value))
        if not isinstance(value, str) or not (value == "auto" or MEMORY.fullmatch(value)):
            raise ValueError
        return value


@dataclass(frozen=True)
class Several:
    """One of `kind`, or several as a tuple; one alone is returned without the tuple."""

    kind: Whole

    @property
    def needed(self) -> str:
        return f"{self.kind.needed}, or several with commas between"

    def read(self, text: str) -> tuple[int | float, ...]:
        return tuple(map(self.kind.read, text.split(",")))

    def take(self, value: object) -> int | tuple[int, ...]:
        values = tuple(map(self.kind.take, value if isinstance(value, (list, tuple)) else (value,)))
        if not values:
            raise ValueError
        return values[0] if len(values) == 1 else values


@dataclass(frozen=True)
class OrAuto:
    """ "auto", or what `kind` takes."""

    kind: Several

    @property
    def needed(self) -> str:
        return f"auto, or {self.kind.needed}"

    def read(self, text: str) -> object:
        return text if text == "auto" else self.kind.read(text)

    def take(self, value: object) -> object:
        return value if isinstance(value, str) and value == "auto" else self.kind.take(value)


class Length(Text):
    """A correlation length in sites, + above and - below the critical temperature; "critical"; or "" for none told."""

    needed = (
        'a correlation length from 0.1 to 10^9 sites, minus that for below the critical temperature, critical, or ""'
    )

    def take(self, value: object) -> str | float:
        if value in ("", "critical"):
            return value
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
        if not 0.1 <= abs(number) <= 1e9:
            raise ValueError
        return number


class Place(Text):
    """A part of a lattice: first row, first column, rows and columns, a tuple of four; or "" for all of it."""

    needed = 'four whole numbers, "first row, first column, rows, columns", or ""'

    def take(self, value: object) -> str | tuple[int, int, int, int]:
        if isinstance(value, str):
            value = value.split(",") if value.strip() else ()
        row, column, height, width = [
            int(text) if isinstance(text, str) else Whole(0, 2**63).take(text) for text in value
        ] or [0] * 4
        if min(row, column) < 0 or (value and min(height, width) < 1):
            raise ValueError
        return (row, column, height, width) if value else ""


MAX_SITES = 2**31 - 1  # of a Swendsen-Wang lattice: runs, which may be as many as sites, are numbered by 31 bits

_SIZE = Whole(4, 10**7, even=True, note="; an odd torus has no two sublattices, a larger one takes hundreds of GiB")
_FILE, _FILE_OR_NONE, _FLAG = FileName(), FileName(optional=True), Flag()
_COUNT, _STEPS = Whole(1, 10**6), Whole(1, 10**6)

KINDS = {
    # lattices
    "LATTICE_SIZE": _SIZE,
    "START_SIZE": _SIZE,
    "LOW_RES_SIZE": _SIZE,
    "STAGES": Whole(1, 20),
    "WINDOW": Place(),
    "SCALE_FACTOR": Whole(3, 3, note=": the kernels and the exact stage gain are for 3"),
    "BETA": Number(1e-6, 50, "an inverse temperature", "; critical is 0.4406867935"),
    "XI": Length(),
    "SEED": Whole(0, 2**64 - 1),
    # how many
    "NUM_SAMPLES": _COUNT,
    "NUM_CONFIGS": _COUNT,
    "SAMPLES_PER_BATCH": _COUNT,
    "CHAINS": Whole(1, 10**5),
    "NUM_LATTICES": Whole(0, 10**7),
    "LEVELS": Whole(1, 12),
    # sweeps
    "UPDATE": Choice(("swendsen_wang", "metropolis")),
    "START": Choice(("hot", "cold")),
    "NUM_SWEEPS": Whole(1, 10**8),
    "SAMPLE_INTERVAL": Whole(1, 10**8),
    "WARMUP_SWEEPS": Whole(0, 10**6),
    "INTERVAL_SWEEPS": Whole(1, 10**6),
    "REFINE_SWEEPS": OrAuto(Several(Whole(0, 10**6))),
    # training
    "KERNEL": Choice(("conditional", "independent", "none")),
    "KERNEL_SIZE": Whole(0, 15, note=", odd, or 0 for the kernel's own"),
    "BLOCK_RULE": Choice(("fit", "load")),
    "BLOCK_RULE_STEPS": _STEPS,
    "STEPS": _STEPS,
    "WINDOWS": Whole(1, 10**5),
    "CRITICAL": Choice(("fit", "load")),
    "MASSIVE_SAMPLES": Whole(0, 10**4),
    "MASSIVE_SIZE": Whole(126, 10**5, even=True),
    "CALIBRATION_SEEDS": Whole(0, 10**5),
    "CALIBRATION_SIZE": _SIZE,
    "LEARNING_RATE": Number(1e-9, 0.999),
    "REPORT_INTERVAL": _STEPS,
    "CHECKPOINT_SECONDS": Number(0, 1e6),
    # files and folders
    "INPUT": _FILE,
    "SEED_FILE": _FILE_OR_NONE,
    "START_FILE": _FILE_OR_NONE,
    "KERNEL_FILE": _FILE_OR_NONE,
    "PARAM_FILE": _FILE,
    "BLOCK_RULE_FILE": _FILE,
    "RULE_FILE": _FILE,
    "COMPARE": _FILE_OR_NONE,
    "DATA_DIR": _FILE,
    "SOURCE_DIR": _FILE,
    "SAVE_DIR": _FILE,
    "OUTPUT_DIR": _FILE,
    "OUTPUT": _FILE,
    "PICTURE_DIR": _FILE,
    "CHECKPOINT_DIR": _FILE,
    # how and where
    "SAVE_LEVELS": Choice(("last", "all", "none")),
    "SAVE_STAGES": Choice(("last", "all", "none")),
    "FILE_FORMAT": Choice(("auto", "int8", "bits")),
    "MAX_MEMORY": Memory(),
    "CACHE": Memory(),
    "PORT": Whole(0, 65535, note="; 0 for any free one"),
    "LISTEN": Text(),
    "OPEN_BROWSER": _FLAG,
    "FILM": _FILE_OR_NONE,
    "FILM_PLACE": OrAuto(Several(Whole(0, 2**63))),
    "FILM_LENGTH": Number(0.1, 600, "seconds"),
    "FILM_SIZE": Whole(64, 2048, even=True),
    "DEVICE": Choice(("auto", "cpu", "cuda")),
    "CHECK": _FLAG,
    "KIND": Choice(("all", "spin", "fk")),
    "LABELS": _FLAG,
    "PICTURES": _FLAG,
    "PREVIEW_SIZE": Whole(1, 4096),
    "TILE_SIZE": Whole(64, 4096),
    "COMPRESSION": Whole(2, 9),
}


def kind(name: str, value: object) -> Whole | Number | Flag | Text | Several | None:
    """Return the kind of a setting; of one that is not in the table, that of its value; None if that is no setting's."""
    if name in KINDS:
        return KINDS[name]
    for of, kind in (
        (bool, _FLAG),
        (int, Whole(-(2**63), 2**63 - 1)),
        (float, Number()),
        (str, Text()),
        ((list, tuple), Several(Whole(-(2**63), 2**63 - 1))),
    ):
        if isinstance(value, of):
            return kind
    return None


def _power(n):
    """Return a bound as people read it."""
    if n >= 10**5 and 10 ** round(math.log10(n)) == n:
        return f"10^{round(math.log10(n))}"
    return f"2^{n.bit_length()} - 1" if n >= 2**31 - 1 and n & (n + 1) == 0 else str(n)
