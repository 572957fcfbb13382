"""What a script declares, as its source tells: its settings, what they mean, and the digest of the code that a run is made by."""

from __future__ import annotations

import ast
import hashlib
import io
import linecache
import os
import re
import tokenize
import types
from collections.abc import Callable

from ising_rg.base import environment
from ising_rg.run import kinds


def constants(script: dict) -> dict:
    """Return {name: value} of a script's settings: the upper-case globals that it reads as such."""
    declared = (read(script) or _named(script["main"])) | _read_beside(script)
    if "BETA" in declared:
        declared.add("XI")  # which takes BETA's place before main is called
    return {key: value for key, value in script.items() if key in declared and kinds.kind(key, value)}


def read(script: dict) -> set[str]:
    """Return which settings a script's source reads; none if there is no source, but a text that is executed."""
    return _read(script["main"].__code__.co_filename)


def _read_beside(script):
    """Return which settings are read by the files in the script's folder whose functions it has imported."""
    own = script["main"].__code__.co_filename
    files = {value.__code__.co_filename for value in script.values() if isinstance(value, types.FunctionType)}
    beside = [file for file in files if file != own and os.path.dirname(file) == os.path.dirname(own)]
    return set().union(*map(_read, beside))


def _read(file):
    return set(re.findall(r"\bs\.([A-Z][A-Z0-9_]*)\b", "".join(linecache.getlines(file))))


def _named(main):
    """Return the known names of settings in the code of main and of what it calls."""
    names, codes, seen = set(), [main.__code__], set()
    while codes:
        code = codes.pop()
        if code in seen:
            continue
        seen.add(code)
        names.update(code.co_names)
        called = (getattr(main.__globals__.get(name), "__code__", None) for name in code.co_names)
        codes += [one for one in (*code.co_consts, *called) if isinstance(one, types.CodeType)]
    return names & kinds.KINDS.keys()


def digest(main: Callable) -> str:
    """Return the digest of what decides a run's bits beside its settings: the package's sources and the script's.

    Of the script all counts but the block of settings, between two rules; nothing of a text that is executed.
    """
    before, *block_and_after = re.split(r"(?m)^# -{20,}$", _source(main))
    return hashlib.sha256("".join([environment.digest(), before, *block_and_after[1:]]).encode()).hexdigest()[:16]


def help(script: dict) -> str:
    """Return the script's docstring and its settings with their defaults and comments."""
    defaults, source = constants(script), _source(script["main"])
    about = ast.get_docstring(ast.parse(source)) or script["__doc__"]
    lines = [about, "\nSettings (--name=value), with their defaults:"]
    comments = dict.fromkeys(defaults, "") | _comments(source, defaults)
    for key, comment in comments.items():
        lines.append(f"  --{key.lower()}={shown(defaults[key])}".ljust(44) + " " + comment)
    return "\n".join(lines)


def _source(main):
    """Return the source of a script's main, as Python or a notebook knows it; empty if there is none."""
    return "".join(linecache.getlines(main.__code__.co_filename))


def shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(v) for v in value) if isinstance(value, tuple) else str(value)


def _comments(source, defaults):
    """Return {setting: trailing comment} in the order of the source."""
    found, line_names = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.start[1] == 0 and token.string in defaults:
            line_names[token.start[0]] = token.string
            found.setdefault(token.string, "")
        elif token.type == tokenize.COMMENT and token.start[0] in line_names:
            found[line_names[token.start[0]]] = token.string.lstrip("# ")
    return found
