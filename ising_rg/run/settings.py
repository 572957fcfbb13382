"""Constants at a script's top -> command line, and the provenance of every output.

A script holds its settings as upper-case constants without a leading underscore, one a line with a trailing comment,
and ends with

    if __name__ == "__main__":
        settings.run(main, globals())

`run` turns `--name=value` arguments (the constant's name in lower case) into overrides, refuses unknown names, checks
constants and arguments alike by `kinds.KINDS`, prints what was overridden, and calls main(s) with a namespace of all settings.
A constant is a setting if the script reads it as s.NAME; others are the user's own. A notebook may execute a script's text.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from types import SimpleNamespace

from ising_rg.base import environment, memory
from ising_rg.base.errors import UserError
from ising_rg.run import folders, kinds, processes, scripts


def run(main: Callable[[SimpleNamespace], None], script: dict) -> None:
    """Run a script's main(settings) with command-line overrides; `script` is the script's globals().

    Exit status: 0 done, 2 a user's mistake (one message, no traceback), 130 interrupted.
    """
    path = main.__code__.co_filename
    name, arguments = os.path.basename(path), sys.argv[1:]
    if not os.path.exists(path):  # a notebook's: executed as a text, or in a cell; its arguments are the kernel's
        name, arguments = "error", arguments if sys.argv[0] in ("", "-", "-c") else []
    _mend_streams()
    if processes.is_quiet_one():
        processes.keep_quiet()
    try:
        if any(argument in ("-h", "--help") for argument in arguments):
            print(scripts.help(script))
            return
        values, overridden = collect(script, arguments)
        for key in overridden:
            print(f"override: {key} = {scripts.shown(values[key])}")
        if "numba" in sys.modules:
            environment.use_a_threading_layer()
            environment.mend_cache()
        for note in environment.notes:
            print(f"note: {note}")
        main(SimpleNamespace(**values))
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError, MemoryError) as error:
        print(f"{name}: error: {_message(error)}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        print(
            f"{name}: error: {error}: needed one more; raise the limit (ulimit -u, or a container's)", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted; files already written are complete", file=sys.stderr)
        sys.exit(130)
    finally:
        folders.release()


def collect(script: dict, arguments: list[str]) -> tuple[dict, list[str]]:
    """Return (all settings, names of the overridden ones) of a script's globals and its command line.

    Raises:
        UserError: a constant or an argument that is not of its kind, a name that is none, or a constant that is missing.
    """
    defaults = scripts.constants(script)
    values = {key: _taken(key, value, kinds.kind(key, value)) for key, value in defaults.items()}
    for key in sorted(scripts.read(script)):
        if key not in values:
            raise UserError(
                f"{key}: found no such constant at the top of the script, needed {key} = a value; put it back"
            )
    overridden = []
    names = "settings are " + ", ".join(f"--{key.lower()}" for key in values)
    for argument in arguments:
        if not argument.startswith("--") or "=" not in argument:
            raise UserError(f"found argument {_quoted(argument)}, needed --name=value; {names}")
        name, text = argument[2:].split("=", 1)
        key = name.upper()
        if key not in values or name != name.lower():
            raise UserError(f"unknown setting {_quoted('--' + name)}; {names}")
        values[key] = _taken(
            key,
            text,
            kinds.kind(key, defaults[key]),
            f", such as --{name}={scripts.shown(values[key])}" if values[key] != "" else " ",
        )
        overridden.append(key)
    if "BETA" in values and values.get("XI", "") != "":
        _take_length(values, overridden)
    return values, overridden


def _take_length(values, overridden):
    """Put the inverse temperature of a correlation length XI in the place of BETA; what the command line says comes first."""
    from ising_rg.theory import exact, temperature  # most runs do without

    told = {name for name in ("BETA", "XI") if name in overridden}
    if told == {"BETA"}:
        values["XI"] = ""
    elif told == {"BETA", "XI"} or not told and not exact.is_critical(values["BETA"]):
        raise UserError(
            f"BETA, XI: found {values['BETA']} and {values['XI']}, needed one of them; XI takes BETA's place"
        )
    else:
        values["BETA"] = temperature.beta_of_xi(values["XI"])


def provenance(s: SimpleNamespace, **more: object) -> dict:
    """Return a JSON-ready dict of `more`, all settings, the versions of what computed and the commit.

    Nothing in it depends on the clock or the machine's load: the same settings give the same file.
    """
    import numba
    import numpy

    from ising_rg import __version__

    versions = {
        "ising_rg": __version__,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
    }
    if "torch" in sys.modules:
        versions["torch"] = sys.modules["torch"].__version__
    return {
        **more,
        "settings": {key: value for key, value in sorted(vars(s).items())},
        "versions": versions,
        "commit": _commit(),
    }


def refuse_others(found: str, there: dict, now: dict, remedy: str) -> None:
    """Raise UserError, "`found` (what differs); `remedy`", unless two dicts of settings are the same."""
    different = [
        f"{name} = {there.get(name)} there, {now.get(name)} now"
        for name in sorted(there.keys() | now.keys())
        if there.get(name) != now.get(name)
    ]
    if different:
        raise UserError(f"{found} ({'; '.join(different)}); {remedy}")


def check_even_size(name: str, L: int, smallest: int = 4) -> None:
    """Raise UserError unless L is an even lattice size of at least `smallest`, and one that memory could ever hold."""
    if L > 10**7:
        raise UserError(f"{name}: found {L}, needed at most 10^7; such a lattice takes hundreds of GiB of memory")
    if L < smallest or L % 2:
        raise UserError(
            f"{name}: found {L}, needed an even number of at least {smallest} (an odd torus has no two sublattices)"
        )


def check_seed_size(name: str, L: int) -> None:
    """Raise UserError if Swendsen-Wang cannot number the sites of an L x L lattice, or has no memory for them."""
    if L * L > kinds.MAX_SITES:
        raise UserError(
            f"{name}: found {L}, needed at most {int(kinds.MAX_SITES**0.5)} for a Swendsen-Wang lattice; "
            "grow a smaller seed by stages"
        )
    check_memory(7 * L * L, f"a Swendsen-Wang lattice of {L} x {L}")


def check_positive(s: SimpleNamespace, *names: str, at_least: int = 1) -> None:
    """Raise UserError unless each named setting is at least `at_least`."""
    for name in names:
        if getattr(s, name) < at_least:
            raise UserError(f"{name}: found {getattr(s, name)}, needed at least {at_least}")


def check_memory(n_bytes: float, what: str, remedy: str = "choose a smaller lattice") -> None:
    """Raise UserError if `n_bytes` is more memory than is free; `remedy` says what to change."""
    free = memory.available()
    if n_bytes > free:
        raise UserError(f"{what} needs {in_units(n_bytes)} of memory, found {in_units(free)} free; {remedy}")


def memory_budget(text: str, n_processes: int = 1, name: str = "MAX_MEMORY") -> int:
    """Return the bytes that a setting means: "512MiB", "2GiB", a number of bytes, or "auto", half of what is free.

    Args:
        name: of the setting.
        n_processes: how many on this machine share what is free.

    Raises:
        UserError: none of these, or more than is free.
    """
    free = memory.available()
    if text == "auto":
        return free // 2 // n_processes
    match = kinds.MEMORY.fullmatch(text)
    if not match:
        raise UserError(f'{name}: found "{text}", needed {kinds.Memory.needed}')
    n_bytes = int(float(match[1]) * 1024 ** "BKMGT".index((match[2] or "B")[0].upper()))
    if n_bytes * n_processes > free:
        raise UserError(
            f"{name}: found {text} for each of {n_processes} processes, needed at most {in_units(free)} in all, which is free"
        )
    return n_bytes


def check_disk(n_bytes: int, folder: str, what: str, instead: str = "a smaller lattice") -> None:
    """Raise UserError if the disk of `folder` has less than `n_bytes` free; `instead`: what else could be made."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise UserError(
            f"{what} needs {in_units(n_bytes)} of disk, found {in_units(free)} free in {folder}; "
            f"make room, or choose another folder or {instead}"
        )


def in_units(n_bytes: float) -> str:
    """Return bytes as people read them."""
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


def _taken(key, value, kind, example=""):
    """Return a value as the scripts use it; of an argument, which comes with an `example`, from the text after --name=."""
    try:
        if example:
            return kind.take(kind.read(value))
        return kind.take(value.tolist() if hasattr(value, "tolist") else value)  # numpy's numbers and arrays
    except (ValueError, TypeError, OverflowError):
        raise UserError(f"{key}: found {_quoted(value)}, needed {kind.needed}{example}") from None


def _quoted(value):
    """Return a value as it would be typed in a script, on one line of at most some 100 characters."""
    if isinstance(value, str):
        text = '"' + repr(value)[1:-1] + '"'
    else:
        try:
            text = " ".join(repr(value).split())  # an array's has several lines
        except ValueError:  # an int of thousands of digits
            text = "a very large number"
    return text if len(text) <= 100 else f"{text[:60]}...{text[-20:]}"


def _mend_streams():
    """Make print work whatever the standard streams are: closed, a notebook's, or of an encoding that lacks some letter."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the number: the next file to be written would have it otherwise
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115 - open until the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")


def _message(error):
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); choose a smaller lattice or fewer configurations"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    return str(error)


@lru_cache(maxsize=1)
def _commit():
    """Return the commit of the source, marked if a Python file differs from it; None outside a git checkout of its own."""
    here = str(environment.HERE.parent)
    # Variables of git are meant for a repository of the user's, as in a hook of it.
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", here, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, env=own).stdout.strip()

    try:
        if os.path.realpath(git("rev-parse", "--show-toplevel")) != here:
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.SubprocessError):
        return None
