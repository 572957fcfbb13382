"""How much memory is free: the machine's, or what is left of the limit that a container has been given."""

from __future__ import annotations

import os


def available(root: str = "/sys/fs/cgroup", membership: str = "/proc/self/cgroup") -> int:
    """Return the bytes of memory that this process can have: what the machine has free, within every limit that it is under.

    Args:
        root: folder where control groups are mounted; membership: file that names those of this process. Other systems than
            Linux have neither.
    """
    import psutil

    return min([psutil.virtual_memory().available, *_left_of_limits(root, membership)])


def _left_of_limits(root, membership):
    """Yield limit - usage + what the kernel gives back when asked (its cache of files), for each limit above this process."""
    for folder, limit_name, usage_name, cache_names in _groups(root, membership):
        limit, usage = _number(folder, limit_name), _number(folder, usage_name)
        if limit is not None and usage is not None:
            yield max(0, limit - max(0, usage - _cached(folder, cache_names)))


def _groups(root, membership):
    """Yield (folder, names of its files) for this process's groups and all those above, of version 2 and version 1."""
    try:
        with open(membership, encoding="utf-8") as file:
            entries = [line.rstrip("\n").split(":", 2) for line in file]
    except OSError:
        return
    for _, controllers, path in (entry for entry in entries if len(entry) == 3):
        if controllers == "":
            mount, names = root, ("memory.max", "memory.current", ("inactive_file", "active_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
            mount = os.path.join(root, "memory")
        else:
            continue
        # In a container the mount may begin at its own group: folders of the path that are not there have no files to read.
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for n in range(len(parts), -1, -1):
            yield (os.path.join(mount, *parts[:n]), *names)


def _number(folder, name):
    """Return the number in a file; None if there is no such file, or "max" in it."""
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _cached(folder, names):
    try:
        with open(os.path.join(folder, "memory.stat"), encoding="utf-8") as file:
            counts = dict(line.split() for line in file)
    except (OSError, ValueError):
        return 0
    return sum(int(counts.get(name, 0)) for name in names)
