"""What the kernel keeps a process to: memory and processors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.isolation.cgroups import Group, hierarchies
from penstock.isolation.machine import Machine
from penstock.toolstack import DomainSpec, Toolstack

needs_groups = pytest.mark.skipif(os.geteuid() != 0 or not hierarchies(), reason="needs root, and the controllers memory and cpu")


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


@needs_groups
def test_a_process_is_held_to_its_memory_weight_and_cap_by_the_kernel() -> None:
    with Toolstack() as toolstack:
        domain = toolstack.create(DomainSpec("held", isolation="process", cap=25, weight=512, memory=8))
        assert domain.is_capped
        assert domain.remarks == []
        here = [Path(h.base) / f for h in hierarchies() for f in os.listdir(h.base) if f.startswith(f"{os.getpid()}-")]
        inside = [int(n) for folder in here for n in _text(folder, "cgroup.procs").split()]
        assert inside.count(domain.machine.thread_id) == len(hierarchies())
        for hierarchy, folder in zip(hierarchies(), here, strict=True):
            if hierarchy.controller == "cpu":
                quota, period = ((_text(folder, "cpu.cfs_quota_us"), _text(folder, "cpu.cfs_period_us")) if hierarchy.version == 1
                                 else _text(folder, "cpu.max").split())
                assert int(quota) / int(period) == 0.25
                assert _text(folder, "cpu.shares" if hierarchy.version == 1 else "cpu.weight") == ("2048" if hierarchy.version == 1 else "200")
            else:
                limit = int(_text(folder, "memory.limit_in_bytes" if hierarchy.version == 1 else "memory.max"))
                assert 8 << 20 <= limit <= 128 << 20
    assert not [f for f in here if f.exists()]


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """Files as a hierarchy of version 2 has them."""
    top = tmp_path / "cgroup"
    top.mkdir()
    (top / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (top / "cgroup.subtree_control").write_text("")
    (tmp_path / "mounts").write_text(f"proc /proc proc rw 0 0\ncgroup2 {top} cgroup2 rw,nosuid 0 0\n")
    (tmp_path / "own").write_text("0::/user.slice\n")
    return tmp_path


def test_version_2_has_groups_below_its_root(version_2: Path) -> None:
    found = hierarchies(version_2 / "mounts", version_2 / "own")
    assert [(h.controller, h.version, h.base) for h in found] == [(n, 2, version_2 / "cgroup" / "penstock") for n in ("memory", "cpu")]
    # A file system without cgroups' files makes one folder for both.
    group = Group(1 << 20, within=found[1:])
    assert group.share(weight=128, cap=50)
    (folder,) = (version_2 / "cgroup" / "penstock").glob("*-*")
    assert (_text(folder, "cpu.weight"), _text(folder, "cpu.max")) == ("50", "50000 100000")
    assert _text(version_2 / "cgroup", "cgroup.subtree_control") == "+cpu"
    assert group.share(weight=256, cap=0)
    assert _text(folder, "cpu.max") == "max 100000"
    assert group.missing == ["memory limit (cgroup)"]


def test_controllers_may_be_split_over_both_versions(version_2: Path) -> None:
    (version_2 / "cgroup" / "cgroup.controllers").write_text("memory\n")
    with open(version_2 / "mounts", "a") as mounts:
        mounts.write(f"cgroup {version_2}/v1 cgroup rw,cpu,cpuacct 0 0\n")
    (version_2 / "own").write_text("4:cpu,cpuacct:/a/b\n0::/\n")
    found = hierarchies(version_2 / "mounts", version_2 / "own")
    assert [(h.controller, h.version, str(h.base.relative_to(version_2))) for h in found] == [
        ("memory", 2, "cgroup/penstock"), ("cpu", 1, "v1/a/b/penstock")]


def test_groups_of_processes_that_are_gone_are_taken_away(version_2: Path) -> None:
    old = version_2 / "cgroup" / "penstock" / "99999999-1"
    old.mkdir(parents=True)
    Group(1 << 20, within=hierarchies(version_2 / "mounts", version_2 / "own")[:1])
    assert not old.exists()


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    assert hierarchies(tmp_path / "none", tmp_path / "none") == []
    group = Group(1 << 20, within=[])
    assert group.missing == ["memory limit (cgroup)", "cpu limit (cgroup)"]
    assert not group.share(weight=256, cap=10)
    group.close()


def test_machines_in_this_process_have_no_group() -> None:
    with Machine() as machine:
        assert not machine.share(weight=256, cap=10)
