"""Tests of common/data/memory.py with the files of control groups in a temporary folder."""

from unittest.mock import Mock

from common.data import memory
from common.data.memory import free_memory

import pytest

V1 = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
V2 = "memory.max", "memory.current", "inactive_file"
UNLIMITED = {"memory.max": "max", "memory.limit_in_bytes": "9223372036854771712"}


@pytest.fixture
def group(tmp_path, monkeypatch):
    """Return a function that writes the files of one control group. 1,000 bytes are free."""
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: Mock(available=1000))

    def write(names, folder, limit, used=0, cache=0):
        place = tmp_path / "sys/fs/cgroup" / folder
        place.mkdir(parents=True, exist_ok=True)
        limit = UNLIMITED[names[0]] if limit is None else limit
        (place / names[0]).write_text(f"{limit}\n")
        (place / names[1]).write_text(f"{used}\n")
        (place / "memory.stat").write_text(f"cache 5\n{names[2]} {cache}\nactive_file 7\n")

    return write


def own_group(root, *lines):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


def test_without_control_groups_the_free_memory_is_that_of_the_machine(group, tmp_path):
    assert free_memory(tmp_path) == 1000
    own_group(tmp_path, "0::/nowhere")
    assert free_memory(tmp_path) == 1000


def test_the_limit_of_a_container_counts_without_its_cached_files(group, tmp_path):
    own_group(tmp_path, "0::/")
    group(V2, "", 500, used=300, cache=80)
    assert free_memory(tmp_path) == 500 - 300 + 80
    group(V2, "", 500, used=700)
    assert free_memory(tmp_path) == 0
    group(V2, "", 5000, used=300)
    assert free_memory(tmp_path) == 1000
    group(V2, "", None, used=300)
    assert free_memory(tmp_path) == 1000


def test_the_smallest_limit_of_the_groups_that_contain_the_process_counts(group, tmp_path):
    own_group(tmp_path, "0::/slurm/job_7/step_0")
    group(V2, "slurm/job_7/step_0", None)
    group(V2, "slurm/job_7", 600, used=100)
    group(V2, "slurm", 900, used=250, cache=50)
    group(V2, "slurm/job_8", 10)
    assert free_memory(tmp_path) == 500
    group(V2, "slurm/job_7/step_0", 400, used=100)
    assert free_memory(tmp_path) == 300


@pytest.mark.parametrize("folder", ["memory/docker/4fd0", "memory"])
def test_version_1_of_control_groups_is_read(folder, group, tmp_path):
    """A container sees the files of its group in the top folder, whatever the name of the group."""
    own_group(tmp_path, "9:name=systemd:/x", "5:cpu,memory:/docker/4fd0", "1:cpu:/", "0::/")
    group(V1, folder, 500, used=300, cache=40)
    assert free_memory(tmp_path) == 240
    group(V1, folder, None, used=300)
    assert free_memory(tmp_path) == 1000
