"""The machine's description: JSON types, nothing private, the code's own commit."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import machine
from harness.errors import InputError

ROOT = Path(machine.__file__).parents[1]


def test_a_description_is_json_and_says_what_the_figures_depend_on(tmp_path: Path) -> None:
    found = machine.describe(tmp_path)
    assert json.loads(json.dumps(found, allow_nan=False)).keys() == found.keys()
    assert found["name"] == machine.machine_name()
    assert found["cpu"]["model"] and found["cpu"]["logical_cores"] >= 1
    assert found["libraries"]["numpy"] and found["libraries"]["torch"]
    assert found["python"].count(".") == 2
    if sys.platform == "linux":
        assert found["file_system"]["kind"]
        assert found["memory_bytes"] > 1 << 28
        assert len(found["load_average"]) == 3
        assert isinstance(found["virtualisation"]["hypervisor_flag"], bool)


def test_a_description_names_no_folder_no_user_and_no_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("the host's name is nobody's business")

    for module, name in ((platform, "node"), (socket, "gethostname")):
        monkeypatch.setattr(module, name, refuse)
    folder = tmp_path / "secret-project"
    folder.mkdir()
    content = json.dumps(machine.describe(folder))
    assert "secret-project" not in content and str(Path.home()) not in content


def test_the_name_comes_from_the_variable_if_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CORE_MACHINE", "lab-box_2")
    assert machine.machine_name() == "lab-box_2"
    for wrong in ("", "../up", "a b", "-x"):
        monkeypatch.setenv("BENCH_CORE_MACHINE", wrong)
        with pytest.raises(InputError, match="is no folder name"):
            machine.machine_name()


def test_the_name_is_made_of_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_CORE_MACHINE", raising=False)
    monkeypatch.setattr(machine, "_cpu_model", lambda: "AMD EPYC 7763 64-Core Processor")
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(machine, "_virtualisation", lambda: {"kind": "none"})
    monkeypatch.setattr(machine, "_gpus", lambda: ())
    assert machine.machine_name() == "amd-epyc-7763-128c"
    monkeypatch.setattr(machine, "_virtualisation", lambda: {"kind": "kvm"})
    monkeypatch.setattr(machine, "_gpus", lambda: ({"name": "NVIDIA H200"},) * 8)
    assert machine.machine_name() == "amd-epyc-7763-128c-8xh200-kvm"


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("Intel(R) Xeon(R) CPU E5-2686 v4 @ 2.30GHz", "intel-xeon-e5-2686-v4"),
        ("AMD Ryzen 9 7950X 16-Core Processor", "amd-ryzen-9-7950x"),
        ("AMD Ryzen 7 5800U with Radeon Graphics", "amd-ryzen-7-5800u"),
        ("Apple M2 Pro", "apple-m2-pro"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("???", "unknown"),
    ],
)
def test_models_become_short_names(model: str, slug: str) -> None:
    assert machine.slug(model) == slug


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def described_from(folder: Path) -> Any:
    code = (
        "import json, sys; from pathlib import Path; sys.path.insert(0, '.');"
        "from harness import machine; print(json.dumps(machine.describe(Path('.'))['git']))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_the_instruments_own_checkout(tmp_path: Path) -> None:
    (tmp_path / "harness").mkdir()
    for name in ("__init__.py", "errors.py", "machine.py", "machine_state.py"):
        shutil.copy(ROOT / "harness" / name, tmp_path / "harness")
    shutil.copytree(ROOT / "prevent_caching", tmp_path / "prevent_caching")
    git(tmp_path, "init", "-q")
    assert described_from(tmp_path) is None  # not tracked: some other project's checkout
    git(tmp_path, "add", "harness")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = described_from(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", clean["commit"]) and clean["dirty"] is False
    with (tmp_path / "harness" / "errors.py").open("a") as file:
        file.write("# changed\n")
    assert described_from(tmp_path) == {"commit": clean["commit"], "dirty": True}
