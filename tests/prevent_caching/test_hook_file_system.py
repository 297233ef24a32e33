"""File systems and devices, from mountinfo lines and from the machine's own mounts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prevent_caching import block_device as block_device_module
from prevent_caching.errors import PreventCachingError
from prevent_caching.file_system import block_device, classify, device, kind
from prevent_caching.mounts import Mount, mount_of, parse_mountinfo


def parse(line: str) -> Mount:
    (mount,) = parse_mountinfo(line)
    return mount


def test_a_line_of_mountinfo_is_read_with_its_escapes_and_optional_fields() -> None:
    line = (
        r"36 35 98:0 /root\040a /mnt/with\040space\134 rw,noatime master:1 shared:7 - ext3 "
        "/dev/root rw,errors=continue"
    )
    assert parse(line) == Mount(
        identity=36,
        device="98:0",
        root="/root a",
        point=Path("/mnt/with space\\"),
        read_only=False,
        file_system="ext3",
        source="/dev/root",
        super_options={"rw": "", "errors": "continue"},
    )


def test_lines_of_another_form_are_passed_over() -> None:
    assert parse_mountinfo("nonsense\n\n36 35 98:0 / - ext3\n") == []


@pytest.mark.parametrize(
    ("line", "droppable", "reason"),
    [
        ("1 0 8:1 / / rw - ext4 /dev/sda1 rw", True, "block device"),
        ("1 0 259:3 / / rw - somenewfs /dev/nvme0n1p3 rw", True, "block device"),
        ("1 0 0:50 / / rw - btrfs /dev/sda1 rw", True, "block device"),
        ("1 0 0:40 / /dev/shm rw - tmpfs tmpfs rw", False, "in memory"),
        ("1 0 0:40 / /data rw - zfs pool/data rw", False, "ARC"),
        ("1 0 0:40 / /data rw - nfs4 host:/data rw", False, "another machine"),
        ("1 0 0:40 / /data rw - virtiofs data rw", False, "another machine"),
        ("1 0 0:40 / /data rw - 9p data rw", False, "another machine"),
        ("1 0 0:40 / /data rw - fuse.sshfs host: rw", False, "FUSE"),
        ("1 0 8:1 / /data rw - fuseblk /dev/sda1 rw", False, "FUSE"),
        ("1 0 0:21 / /proc rw - proc proc rw", False, "not known"),
        ("1 0 0:40 / / rw - overlay overlay rw,lowerdir=/no/a,upperdir=/no/b", True, "/no/b"),
        ("1 0 0:40 / / ro - overlay overlay ro,lowerdir=/no/a:/no/c", True, "read-only layers"),
    ],
)
def test_what_dropping_means_on_a_file_system(line: str, droppable: bool, reason: str) -> None:
    found = classify(parse(line))
    assert found.has_page_cache_drop is droppable
    assert reason in found.reason
    assert found.name == line.split(" - ")[1].split()[0]


def test_an_overlay_is_judged_by_a_visible_upper_layer() -> None:
    line = "1 0 0:40 / / rw - overlay overlay rw,lowerdir=/,upperdir=/dev/shm,workdir=/w"
    if kind(Path("/dev/shm")).name != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    found = classify(parse(line))
    assert (found.name, found.has_page_cache_drop) == ("overlay", False)
    assert found.reason.startswith("overlay whose upper tmpfs")


OVERLAY = """
import os, sys
from pathlib import Path
from prevent_caching.block_device import device
from prevent_caching.eviction import evict
from prevent_caching.file_system import kind
from prevent_caching.residency import resident_fraction
base = Path(sys.argv[1])
(base / "merged" / "file").write_bytes(os.urandom(1 << 20))
found = kind(base / "merged" / "file")
print(found.name, found.has_page_cache_drop, device(base / "merged") == device(base))
print(resident_fraction(base / "merged" / "file"), evict(base / "merged" / "file"))
"""


def test_a_real_overlay_is_evicted_through_to_its_upper_layer(disk: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (disk / name).mkdir()
    options = f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work"
    mount = f"mount -t overlay overlay -o {options} {disk}/merged"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("no overlay can be mounted here")
    program = [sys.executable, "-c", OVERLAY, str(disk)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$0" "$@"', *program],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["overlay True True", "1.0 0.0"]


def test_a_path_yet_to_be_made_belongs_to_its_parents_mount(tmp_path: Path) -> None:
    assert mount_of(tmp_path / "a" / "b") == mount_of(tmp_path)


def test_a_link_belongs_to_the_mount_of_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert kind(tmp_path / "link").name == "proc"


def test_the_device_is_the_one_that_stat_names(device_path: Path) -> None:
    status = device_path.stat()
    if os.major(status.st_dev) == 0:
        pytest.skip("an anonymous device number here")
    assert device(device_path) == f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"


def test_a_partition_gives_its_disk(device_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partition = device_path / "devices" / "sda" / "sda1"
    partition.mkdir(parents=True)
    (partition / "partition").write_text("1\n")
    (partition.parent / "dev").write_text("8:0\n")
    numbers = device_path / "numbers"
    numbers.mkdir()
    (numbers / device(device_path)).symlink_to(partition)
    monkeypatch.setattr(block_device_module, "_SYS_BLOCK", numbers)
    assert block_device(device_path) == "8:0"
    (partition / "partition").unlink()
    assert block_device(device_path) == device(device_path)


def test_what_has_no_block_device_says_so() -> None:
    with pytest.raises(PreventCachingError, match=r"/proc is on proc .* no block device"):
        device(Path("/proc"))
