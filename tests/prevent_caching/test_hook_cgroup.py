"""Cgroups: which hierarchy, where a limited one is made, both versions on trees of plain files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from prevent_caching import cgroup as cgroups
from prevent_caching.cgroup import Hierarchy, choose_hierarchy, process_tree, remove_leftovers
from prevent_caching.errors import LimitRefused
from prevent_caching.io_limit import limited
from prevent_caching.mounts import parse_mountinfo

V1 = "30 20 0:30 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
UNIFIED = "31 20 0:31 / {point} rw - cgroup2 cgroup2 rw\n"
MEGABYTES = 10**6


def hierarchy_in(text: str) -> Hierarchy:
    return choose_hierarchy(parse_mountinfo(text))


def test_blkio_of_version_1_is_found_beside_an_empty_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("hugetlb\n")
    found = hierarchy_in(UNIFIED.format(point=tmp_path) + V1)
    assert (found.version, found.point) == (1, Path("/sys/fs/cgroup/blkio"))


def test_io_of_version_2_is_found(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory\n")
    found = hierarchy_in(UNIFIED.format(point=tmp_path))
    assert (found.version, found.point) == (2, tmp_path)


def test_without_a_controller_the_docker_flags_are_named(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    for text in ("", UNIFIED.format(point=tmp_path)):
        with pytest.raises(LimitRefused, match="--device-read-bps"):
            hierarchy_in(text)


@pytest.mark.parametrize(
    ("root", "cgroup", "directory"),
    [
        ("/", "/", ""),
        ("/", "/a/b", "a/b"),
        ("/docker/x", "/docker/x/y", "y"),
        ("/docker/x", "/docker/x", ""),
        ("/docker/x", "/elsewhere", ""),
    ],
)
def test_a_cgroup_is_found_below_the_root_of_its_mount(
    tmp_path: Path, root: str, cgroup: str, directory: str
) -> None:
    hierarchy = Hierarchy(1, tmp_path, PurePosixPath(root))
    assert hierarchy.directory(PurePosixPath(cgroup)) == tmp_path / directory


class FakeTree:
    """A hierarchy of plain files, in which every process is in ``/slice/scope``."""

    def __init__(self, point: Path, version: int) -> None:
        self.hierarchy = Hierarchy(version, point, PurePosixPath("/"))
        self.home = point / "slice" / "scope"
        self.home.mkdir(parents=True)

    def give(self, directory: Path, controllers: str) -> None:
        (directory / "cgroup.subtree_control").write_text(controllers)


@pytest.fixture(params=[1, 2])
def tree(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FakeTree:
    made = FakeTree(tmp_path, request.param)
    monkeypatch.setattr(Hierarchy, "cgroup_of", lambda _self, _pid: made.home)
    # Directories of plain files cannot be removed as a cgroup can.
    monkeypatch.setattr(cgroups, "_REMOVE_SECONDS", 0.0)
    return made


def contents(directory: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in directory.iterdir()}


def test_what_is_written_to_set_and_to_lift_a_limit(tree: FakeTree) -> None:
    tree.give(tree.home.parent, "cpu io")
    with limited(
        "8:16", 100 * MEGABYTES, 50 * MEGABYTES, pid=os.getpid(), hierarchy=tree.hierarchy
    ) as limit:
        inside = contents(limit.cgroup)
    after = contents(limit.cgroup)
    if tree.hierarchy.version == 2:
        assert inside["io.max"] == "8:16 rbps=100000000 wbps=50000000"
        assert after["io.max"] == "8:16 rbps=max wbps=max"
        assert limit.cgroup.parent == tree.home.parent
    else:
        assert inside["blkio.throttle.read_bps_device"] == "8:16 100000000"
        assert inside["blkio.throttle.write_bps_device"] == "8:16 50000000"
        assert after["blkio.throttle.read_bps_device"] == "8:16 0"
        assert after["blkio.throttle.write_bps_device"] == "8:16 0"
        assert limit.cgroup.parent == tree.home
    assert inside["cgroup.procs"].isdigit()
    assert (tree.home / "cgroup.procs").read_text().isdigit()


def test_one_direction_leaves_the_other_free(tree: FakeTree) -> None:
    tree.give(tree.home.parent, "io")
    with limited("8:16", write_bps=7, hierarchy=tree.hierarchy) as limit:
        inside = contents(limit.cgroup)
    if tree.hierarchy.version == 2:
        assert inside["io.max"] == "8:16 rbps=max wbps=7"
    else:
        assert inside["blkio.throttle.read_bps_device"] == "8:16 0"
        assert inside["blkio.throttle.write_bps_device"] == "8:16 7"


def test_the_root_is_asked_to_give_io_where_no_ancestor_does(tree: FakeTree) -> None:
    tree.give(tree.home.parent, "cpu")
    with limited("8:16", 7, hierarchy=tree.hierarchy) as limit:
        pass
    if tree.hierarchy.version == 2:
        assert (tree.hierarchy.point / "cgroup.subtree_control").read_text() == "+io"
        assert limit.cgroup.parent == tree.hierarchy.point


@pytest.mark.parametrize("rates", [(None, None), (0, None), (None, -5)])
def test_nothing_to_limit_is_refused(tree: FakeTree, rates: tuple[int | None, int | None]) -> None:
    with (
        pytest.raises(LimitRefused, match="give at least one"),
        limited("8:16", *rates, hierarchy=tree.hierarchy),
    ):
        pass


def cgroup_made_by(parent: Path, pid: int, start: int, namespace: int | None = None) -> Path:
    namespace = cgroups._pid_namespace() if namespace is None else namespace
    made = parent / f"prevent-caching-{namespace}-{pid}-{start}-0123abcd"
    made.mkdir()
    return made


def test_only_the_leftovers_of_dead_makers_are_removed(tmp_path: Path) -> None:
    own_start = cgroups._start_time(os.getpid())
    assert own_start is not None
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    alive = cgroup_made_by(tmp_path, os.getpid(), own_start)
    reused = cgroup_made_by(tmp_path, os.getpid(), own_start - 1)
    dead = cgroup_made_by(tmp_path, ended.pid, 5)
    foreign = cgroup_made_by(tmp_path, ended.pid, 5, namespace=1)
    other = tmp_path / "prevent-caching-of-somebody"
    other.mkdir()
    assert set(remove_leftovers(tmp_path)) == {reused, dead}
    assert set(tmp_path.iterdir()) == {alive, foreign, other}


def test_a_process_tree_has_the_grandchildren() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True) as child:
        while len(process_tree(child.pid)) < 2:
            assert child.poll() is None
        tree = process_tree(child.pid)
        assert tree[0] == child.pid
        assert set(tree) <= set(process_tree(os.getpid()))
        child.communicate("\n")
