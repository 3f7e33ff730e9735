"""Determine how much memory a program can use, inside or outside a container."""

import contextlib
from pathlib import Path

import psutil

# The keys are versions of Linux control groups. The values are the folder in /sys/fs/cgroup, the
# file with the memory limit, the file with the memory in use, and the name of the entry in
# memory.stat that counts cached data. Linux can free cached data when necessary
FILES = {
    1: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("", "memory.max", "memory.current", "inactive_file"),
}


def free_memory(root="/"):
    """Return the free memory of the machine in bytes, or less if a control group limits it.

    Container engines and job schedulers use control groups to limit memory. `root` is for tests.
    """
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError):  # Only Linux has control groups
        for line in Path(root, "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                free = min(free, *_free_in(root, group, FILES[1 if controllers else 2]))
    return free


def _free_in(root, group, files):
    """Yield the free memory in bytes of a control group and of each group that contains it."""
    folder, limit, used, cache = files
    top = Path(root, "sys/fs/cgroup", folder)
    # In a container, the group's folder may be invisible. Then the top folder contains the limit
    inner = top / group.strip("/")
    yield float("inf")  # No limit is known
    for place in [inner, *inner.parents][: 1 + len(inner.parts) - len(top.parts)]:
        with contextlib.suppress(OSError, ValueError):  # No limit is set in this group
            most = int((place / limit).read_text())
            stat = (place / "memory.stat").read_text().split()
            cached = int(stat[stat.index(cache) + 1])
            yield max(0, most - int((place / used).read_text()) + cached)
