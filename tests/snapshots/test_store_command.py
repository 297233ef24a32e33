"""`bench-core snapshots`: tables, exit codes, one line for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from store_cases import spec_of, tensors_of

from bench_core.snapshots import SnapshotStore
from harness import cli, exit_codes


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Return a store of a base, a model made of it, and blocks of one that was removed."""
    store = SnapshotStore(tmp_path / "store")
    first = store.add("base[red]", spec_of(), tensors_of(1), head=(torch.ones(2, 3), torch.ones(2)))
    parts = [*first.blocks[:2], *tensors_of(2)[2:]]
    store.add("derived", spec_of(), parts, origin={"base": "base[red]"})
    store.add("gone", spec_of(), [*first.blocks[:3], tensors_of(3)[3]])
    store.remove("gone")
    return store


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", "snapshots", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Call the command in this process; return exit code, output and errors."""
    with pytest.raises(SystemExit) as end:
        cli.main(["snapshots", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, captured.out, captured.err


def damage(store: SnapshotStore, name: str, index: int) -> Path:
    path = store.block_path(store.snapshot(name).blocks[index])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def test_as_a_process(store: SnapshotStore) -> None:
    listed = call("ls", store.folder, "--json")
    assert (listed.returncode, listed.stderr) == (exit_codes.FINE, "")
    content = json.loads(listed.stdout)
    assert [row["model"] for row in content["models"]] == ["base[red]", "derived"]
    path = damage(store, "derived", 0)
    verified = call("verify", store.folder)
    assert verified.returncode == exit_codes.BROKEN
    assert verified.stderr.splitlines() == [
        f"{path}: its bytes are not those that its name promises; used by base[red], derived"
    ]
    unknown = call("rm", store.folder, "derivde")
    assert unknown.returncode == exit_codes.BAD_INPUT
    assert unknown.stderr == (
        f"bench-core: {store.folder}: no model 'derivde' among 2; did you mean 'derived'?\n"
    )


def test_ls_as_json(store: SnapshotStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "ls", store.folder, "--json")
    base, derived = store.snapshots()
    shared = sum(ref.nbytes for ref in base.blocks[:2])
    unique = base.nbytes + derived.nbytes - shared
    assert code == exit_codes.FINE
    assert json.loads(out) == {
        "models": [
            {
                "model": snapshot.name,
                "architecture": "mlp",
                "blocks": 4,
                "bytes": snapshot.nbytes,
                "own_bytes": snapshot.nbytes - shared,
                "base": snapshot.origin.get("base"),
            }
            for snapshot in (base, derived)
        ],
        "totals": {
            "models": 2,
            "bytes": base.nbytes + derived.nbytes,
            "unique_bytes": unique,
            "bytes_on_disk": sum(path.stat().st_size for _, path in store.blocks.files()),
            "sharing_factor": (base.nbytes + derived.nbytes) / unique,
        },
    }


def test_ls_as_a_table(store: SnapshotStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "ls", store.folder)
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert code == exit_codes.FINE
    assert lines[0] == ["model", "architecture", "blocks", "bytes", "own", "base"]
    assert [(line[0], line[1], line[2], line[-1]) for line in lines[2:4]] == [
        ("base[red]", "mlp", "4", "–"),
        ("derived", "mlp", "4", "base[red]"),
    ]
    assert "unique" in out.splitlines()[-1] and "2 models of" in out.splitlines()[-1]


def test_ls_of_an_empty_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "models").mkdir()
    code, out, _ = run(capsys, "ls", tmp_path)
    assert code == exit_codes.FINE
    assert out.splitlines()[-1].startswith("0 models of 0 B")


def test_verify_of_a_whole_store(store: SnapshotStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "verify", store.folder)
    assert (code, err) == (exit_codes.FINE, "")
    assert out.startswith("2 models, 7 blocks, ")
    assert out.endswith(": all whole; no model uses 1 block\n")


def test_verify_names_everything_that_is_damaged(
    store: SnapshotStore, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [damage(store, "derived", index) for index in (0, 3)]
    broken = store.add("broken", spec_of(), tensors_of(5))
    (store.folder / "models" / "broken.json").write_text("{")
    code, out, err = run(capsys, "verify", store.folder)
    assert code == exit_codes.BROKEN
    lines = err.splitlines()
    assert len(lines) == 3 and broken.name in lines[2]
    assert all(lines[i].startswith(f"{path}: ") for i, path in enumerate(paths))
    assert lines[0].endswith("used by base[red], derived") and lines[1].endswith("used by derived")
    assert out.endswith(": 3 damaged or missing\n")


def test_gc(store: SnapshotStore, capsys: pytest.CaptureFixture[str]) -> None:
    used = {ref.key for model in store.snapshots() for ref in (*model.blocks, model.head) if ref}
    (orphan,) = [path for key, path in store.blocks.files() if key not in used]
    size = orphan.stat().st_size
    code, out, _ = run(capsys, "gc", store.folder, "--dry-run")
    assert code == exit_codes.FINE and orphan.exists()
    assert out.splitlines()[0] == str(orphan) and "would remove 1 block and 0" in out
    code, out, _ = run(capsys, "gc", store.folder)
    assert code == exit_codes.FINE and not orphan.exists()
    assert out == f"removed 1 block and 0 unfinished files, {size / 1000:.2f} kB\n"


def test_rm(store: SnapshotStore, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "rm", store.folder, "derived", "nobody")
    assert code == exit_codes.BAD_INPUT and "no model 'nobody'" in err
    assert store.names() == ["base[red]", "derived"], "all names are looked at first"
    code, out, _ = run(capsys, "rm", store.folder, "derived", "derived")
    assert code == exit_codes.FINE and out.startswith("removed derived\n")
    assert store.names() == ["base[red]"]


@pytest.mark.parametrize("name", ["ls", "verify", "gc"])
def test_a_folder_that_is_no_store(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, name, tmp_path)
    assert code == exit_codes.BAD_INPUT
    assert err == (
        f"bench-core: {tmp_path}: no store of models, it has neither 'models' nor 'blocks' in it\n"
    )
    assert not list(tmp_path.iterdir())
    code, _, err = run(capsys, name, tmp_path / "nowhere")
    assert code == exit_codes.BAD_INPUT and "nowhere" in err


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from harness.cli import main\n"
        "try:\n    main(['snapshots', '--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'numpy', 'bench_core', 'rich'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("ls", "verify", "gc", "rm", "compare"):
        assert f"  {name} " in done.stdout
