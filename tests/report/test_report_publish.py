from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.report.publish import MANIFEST, publish


def staged(folder: Path, **files: str) -> Path:
    staging = folder / "staging"
    for name, content in files.items():
        path = staging / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return staging


def test_a_new_report_replaces_the_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    publish(staged(tmp_path, page="1", figures__old="1", figures__both="1"), out)

    files = publish(staged(tmp_path, page="2", figures__both="2", figures__new="2"), out)

    assert sorted(str(path.relative_to(out)) for path in files) == [
        "figures/both",
        "figures/new",
        "page",
    ]
    assert {path.name: path.read_text() for path in files} == {"both": "2", "new": "2", "page": "2"}
    assert not (out / "figures" / "old").exists()
    assert (out / "mine.txt").read_text() == "mine"


def test_a_file_that_is_no_report_s_is_never_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "page").write_text("mine")

    with pytest.raises(InputError, match="belongs to no report; choose another folder by --out"):
        publish(staged(tmp_path, page="1"), out)

    assert (out / "page").read_text() == "mine"


def test_a_manifest_cannot_name_files_outside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (out / MANIFEST).write_text(json.dumps({"files": ["../victim", str(victim)]}))

    publish(staged(tmp_path, page="1"), out)

    assert victim.exists()


def test_a_report_that_was_interrupted_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text(json.dumps({"files": ["page", "never-written"]}))
    (out / "page").write_text("half done")

    publish(staged(tmp_path, page="1"), out)

    assert (out / "page").read_text() == "1"
    assert json.loads((out / MANIFEST).read_text())["files"] == ["page"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text("{")

    with pytest.raises(InputError, match=r"report\.json is not JSON"):
        publish(staged(tmp_path, page="1"), out)
