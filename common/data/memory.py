"""Tell how much memory a program can use, in a container or outside."""

import contextlib
from pathlib import Path

import psutil

# Per version of Linux control groups: the folder below /sys/fs/cgroup, the files with the limit and
# the used memory, and the name in memory.stat of the cached files that Linux frees when necessary
FILES = {
    1: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("", "memory.max", "memory.current", "inactive_file"),
}


def free_memory(root="/"):
    """Return the free memory in bytes: that of the machine, or less if a control group limits it.

    Container engines and job schedulers limit memory by control groups. `root` is for tests.
    """
    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError):  # Other systems than Linux have no control groups
        for line in Path(root, "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                free = min(free, *_free_in(root, group, FILES[1 if controllers else 2]))
    return free


def _free_in(root, group, files):
    """Yield the free memory in bytes for a control group and for the groups that contain it."""
    folder, limit, used, cache = files
    top = Path(root, "sys/fs/cgroup", folder)
    # A container might not see the folder of its group, but the limit in the top folder instead
    inner = top / group.strip("/")
    yield float("inf")  # No limit is known
    for place in [inner, *inner.parents][: 1 + len(inner.parts) - len(top.parts)]:
        with contextlib.suppress(OSError, ValueError):  # The limit is missing or is "max"
            most = int((place / limit).read_text())
            stat = (place / "memory.stat").read_text().split()
            cached = int(stat[stat.index(cache) + 1])
            yield max(0, most - int((place / used).read_text()) + cached)
