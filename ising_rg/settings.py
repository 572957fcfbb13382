"""Constants at a script's top -> command line, and the provenance of every output.

A script holds its settings as upper-case constants without a leading underscore, one a line with a trailing comment,
and ends with

    if __name__ == "__main__":
        settings.run(main, globals())

`run` turns `--name=value` arguments (the constant's name in lower case) into overrides, refuses unknown and ill-typed
ones, prints what was overridden, and calls main(s) with a namespace of all settings. The type of a setting is that of its
default; a default annotated `int | tuple` takes one number or several (--refine_sweeps=5,3,2).
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tokenize
from functools import lru_cache
from types import SimpleNamespace

from ising_rg import folders, processes
from ising_rg.errors import UserError


def run(main, script):
    """Run a script's main(settings) with command-line overrides; `script` is the script's globals().

    Exit status: 0 done, 2 a user's mistake (one message, no traceback), 130 interrupted.
    """
    name = os.path.basename(script["__file__"])
    defaults = {key: value for key, value in script.items() if key.isupper() and not key.startswith("_")}
    annotations = script.get("__annotations__", {})
    sys.stdout.reconfigure(line_buffering=True)
    if processes.is_quiet_one():
        processes.keep_quiet()
    try:
        if any(argument in ("-h", "--help") for argument in sys.argv[1:]):
            print(script["__doc__"].strip(), "\n\nSettings (--name=value), with their defaults:")
            for key, comment in _comments(script["__file__"], defaults).items():
                print(f"  --{key.lower()}={_shown(defaults[key])}".ljust(44), comment)
            return
        values = dict(defaults)
        for argument in sys.argv[1:]:
            key, value = _override(argument, defaults, annotations)
            values[key] = value
            print(f"override: {key} = {_shown(value)}")
        if not 0 <= values.get("SEED", 0) < 2**64:
            raise UserError(f"SEED: found {values['SEED']}, needed a whole number from 0 to 2^64 - 1")
        main(SimpleNamespace(**values))
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError, MemoryError) as error:
        print(f"{name}: error: {_message(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted; files already written are complete", file=sys.stderr)
        sys.exit(130)
    finally:
        folders.release()


def provenance(s, **more):
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


def check_beta(beta):
    """Raise UserError unless beta is a number from 1e-6 to 50: positive, finite, and within reach of the exact formulas."""
    if not 1e-6 <= beta <= 50:
        raise UserError(f"BETA: found {beta}, needed an inverse temperature from 1e-6 to 50; critical is 0.4406867935")


def check_even_size(name, L, smallest=4):
    """Raise UserError unless L is an even lattice size of at least `smallest`, and one that memory could ever hold."""
    if L > 10**7:
        raise UserError(f"{name}: found {L}, needed at most 10^7; such a lattice takes hundreds of GiB of memory")
    if L < smallest or L % 2:
        raise UserError(
            f"{name}: found {L}, needed an even number of at least {smallest} (an odd torus has no two sublattices)"
        )


def check_seed_size(name, L):
    """Raise UserError if Swendsen-Wang cannot number the sites of an L x L lattice, or has no memory for them."""
    from ising_rg.swendsen_wang import MAX_SITES

    if L * L > MAX_SITES:
        raise UserError(
            f"{name}: found {L}, needed at most {int(MAX_SITES**0.5)} for a Swendsen-Wang lattice; grow a smaller seed by stages"
        )
    check_memory(6 * L * L, f"a Swendsen-Wang lattice of {L} x {L}")


def check_positive(s, *names, at_least=1):
    """Raise UserError unless each named setting is at least `at_least`."""
    for name in names:
        if getattr(s, name) < at_least:
            raise UserError(f"{name}: found {getattr(s, name)}, needed at least {at_least}")


def check_sweeps(name, n_sweeps):
    """Raise UserError unless n_sweeps fits the sweep counter of the random numbers."""
    if not 0 <= n_sweeps < 2**31:
        raise UserError(f"{name}: found {n_sweeps}, needed 0 ... 2^31 - 1 sweeps")


def check_choice(s, name, choices):
    """Raise UserError unless the named setting is one of `choices`."""
    if getattr(s, name) not in choices:
        raise UserError(f'{name}: found "{getattr(s, name)}", needed one of {", ".join(choices)}')


def check_memory(n_bytes, what):
    """Raise UserError if `n_bytes` is more memory than is free."""
    import psutil

    free = psutil.virtual_memory().available
    if n_bytes > free:
        raise UserError(
            f"{what} needs {in_units(n_bytes)} of memory, found {in_units(free)} free; choose a smaller lattice"
        )


def memory_budget(text, n_processes=1):
    """Return the bytes that MAX_MEMORY means: "512MiB", "2GiB", a number of bytes, or "auto", half of what is free.

    Args:
        n_processes: how many on this machine share what is free.

    Raises:
        UserError: none of these, or more than is free.
    """
    import psutil

    free = psutil.virtual_memory().available
    if text == "auto":
        return free // 2 // n_processes
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]i?B?|B)?", text, re.IGNORECASE)
    if not match:
        raise UserError(f'MAX_MEMORY: found "{text}", needed auto, or bytes such as 512MiB or 2GiB')
    n_bytes = int(float(match[1]) * 1024 ** "BKMGT".index((match[2] or "B")[0].upper()))
    if n_bytes * n_processes > free:
        raise UserError(
            f"MAX_MEMORY: found {text} for each of {n_processes} processes, needed at most {in_units(free)} in all, "
            "which is free"
        )
    return n_bytes


def check_disk(n_bytes, folder, what):
    """Raise UserError if the disk of `folder` has less than `n_bytes` free."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise UserError(
            f"{what} needs {in_units(n_bytes)} of disk, found {in_units(free)} free in {folder}; "
            "make room, or choose another folder or a smaller lattice"
        )


def in_units(n_bytes):
    """Return bytes as people read them."""
    return f"{n_bytes / 2**30:.2f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


def _override(argument, defaults, annotations):
    names = "settings are " + ", ".join(f"--{key.lower()}" for key in defaults)
    if not argument.startswith("--") or "=" not in argument:
        raise UserError(f'found argument "{argument}", needed --name=value; {names}')
    name, text = argument[2:].split("=", 1)
    key = name.upper()
    if key not in defaults or name != name.lower():
        raise UserError(f'unknown setting "--{name}"; {names}')
    default = defaults[key]
    try:
        if isinstance(default, bool):
            value = {"true": True, "false": False}[text.lower()]
        elif isinstance(default, tuple) or "tuple" in str(annotations.get(key)):
            parts = tuple(int(part) for part in text.split(","))
            value = parts[0] if len(parts) == 1 else parts
        elif isinstance(default, (int, float)):
            value = type(default)(text)
        else:
            value = text
    except (ValueError, KeyError):
        raise UserError(
            f'--{name}: found "{text}", needed {_type_name(key, default, annotations)}, such as --{name}={_shown(default)}'
        ) from None
    return key, value


def _type_name(key, default, annotations):
    if "tuple" in str(annotations.get(key)):
        return "one whole number or several with commas between"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(type(default), "text")


def _shown(value):
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def _comments(path, defaults):
    """Return {setting: trailing comment} in the order of the source."""
    found, line_names = {}, {}
    with open(path, "rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.NAME and token.start[1] == 0 and token.string in defaults:
                line_names[token.start[0]] = token.string
                found.setdefault(token.string, "")
            elif token.type == tokenize.COMMENT and token.start[0] in line_names:
                found[line_names[token.start[0]]] = token.string.lstrip("# ")
    return found


def _message(error):
    if isinstance(error, MemoryError):
        return f"not enough memory ({error}); choose a smaller lattice or fewer configurations"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    return str(error)


@lru_cache(maxsize=1)
def _commit():
    """Return the commit of the source, marked if a Python file differs from it; None outside a git checkout of its own."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

    def git(*arguments):
        command = ["git", "-C", here, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        if os.path.realpath(git("rev-parse", "--show-toplevel")) != here:
            return None
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.SubprocessError):
        return None
