"""`bench-core snapshots compare` and `import` as processes, and the report they go on with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hub_models import classifier, save, saved, variant_of

from bench_core.errors import CorruptFileError
from bench_core.snapshots import SnapshotStore
from bench_core.snapshots.compare import Failure, Report, model_at, models_under
from harness import cli, exit_codes


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a base, and one of a variant, another model and a broken one."""
    folder = tmp_path_factory.mktemp("models")
    saved(folder / "base[1]")
    tuned = variant_of(classifier("resnet_tiny"), "encoder.stages.3.", 1)
    save(tuned, folder / "set" / "tuned")
    saved(folder / "set" / "other", seed=5)
    broken = saved(folder / "set" / "broken") / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:100])
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", "snapshots", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["snapshots", *map(str, arguments)])
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


def test_import_and_compare_as_processes(models: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = run("import", models / "set", "--store", store)
    assert done.returncode == exit_codes.BROKEN
    assert "2 of 3 models imported" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert str(models / "set" / "broken") in done.stderr
    assert SnapshotStore(store).names() == ["other", "tuned"]
    compared = run("compare", "other", "tuned", "--store", store, "--deep")
    assert compared.returncode == exit_codes.FINE
    assert "tuned: " in compared.stdout
    assert "mse" in compared.stdout
    assert compared.stderr == ""


def test_two_folders(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lines.jsonl"
    both = models / "base[1]", models / "set" / "tuned"
    code, out, _ = run_here(capsys, "compare", *both, "--json", path)
    assert code == exit_codes.FINE
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert f"{line['identical']} / {line['total']} tensors identical to base[1]" in out
    assert 0 < line["identical"] < line["total"]
    before = path.read_bytes()
    assert run_here(capsys, "compare", *both, "--json", path)[:2] == (code, out)
    assert path.read_bytes() == before
    path.write_text("a note")
    assert run_here(capsys, "compare", *both, "--json", path)[0] == 2
    assert path.read_text() == "a note"
    assert "encoder.stages.3" in out


def test_a_folder_of_many_and_a_second_run(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lines.jsonl"
    arguments = ("compare", models / "base[1]", models / "set", "--json", path)
    code, out, err = run_here(capsys, *arguments)
    assert code == exit_codes.BROKEN
    assert "2 of 3 models compared with base[1]" in out
    assert str(models / "set" / "broken") in err
    before = path.read_text()
    assert len(before.splitlines()) == 2
    code, again, _ = run_here(capsys, *arguments)
    assert (code, again, path.read_text()) == (exit_codes.BROKEN, out, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "nowhere", "nowhere"), "nowhere"),
        (("compare", ".", "nowhere", "--store", "store"), "store"),
        (("import", "nowhere", "--store", "store"), "nowhere"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_here(capsys, *arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert words in err


def test_options_that_do_not_fit(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("--store", tmp_path / "store")
    one, many = models / "base[1]", models / "set"
    for arguments, words in (
        ((one / "model.safetensors", *store), "--architecture"),
        ((one, *store, "--architecture", "resnet_tiny"), "--architecture"),
        ((many, *store, "--name", "x"), "--name"),
    ):
        code, _, err = run_here(capsys, "import", *arguments)
        assert (code, len(err.splitlines())) == (2, 1)
        assert words in err
    file = (one / "model.safetensors", "--architecture", "resnet_tiny", "--name", "x")
    assert run_here(capsys, "import", *file, *store)[0] == exit_codes.FINE
    assert run_here(capsys, "import", one, *store)[0] == exit_codes.FINE
    first, second = SnapshotStore(tmp_path / "store").snapshots()
    assert first.blocks == second.blocks


def test_a_report_goes_on_after_a_torn_line(models: Path, tmp_path: Path) -> None:
    base, found = model_at(models / "base[1]"), models_under(models / "set")
    report = Report(tmp_path / "lines.jsonl", deep=False)
    rows = list(report.rows(base, found))
    assert [isinstance(row, Failure) for row in rows] == [True, False, False]
    assert report.path is not None
    whole = report.path.read_bytes()
    first, _, _ = whole.partition(b"\n")
    for kept in (len(first) + 1, len(first) + 4, len(first) + 30, len(whole) - 1):
        report.path.write_bytes(whole[:kept])
        assert list(report.rows(base, found)) == rows
        assert report.path.read_bytes() == whole


def test_lines_of_another_base_or_depth_do_not_count(models: Path, tmp_path: Path) -> None:
    path, found = tmp_path / "lines.jsonl", models_under(models / "set")
    base = model_at(models / "base[1]")
    for report, name in (
        (Report(path, False), "a"),
        (Report(path, False), "b"),
        (Report(path, True), "b"),
    ):
        list(report.rows(type(base)(name, base.tensors), found))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["base"], line["deep"]) for line in lines] == [
        ("a", False),
        ("a", False),
        ("b", False),
        ("b", False),
        ("b", True),
        ("b", True),
    ]


@pytest.mark.parametrize("content", ["a note\n", "a note without an end", '{"model": 1}\n', "[]\n"])
def test_a_file_of_something_else_is_left_alone(content: str, models: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    report = Report(path, deep=False)
    with pytest.raises(CorruptFileError, match=r"notes\.txt"):
        list(report.rows(model_at(models / "base[1]"), models_under(models / "set")))
    assert path.read_text() == content


def test_progress(models: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    report, base = Report(None, deep=False), model_at(models / "base[1]")
    found = models_under(models / "set")
    list(report.rows(base, found, lambda *step: seen.append(step)))
    assert seen == [(0, 3, "broken"), (1, 3, "other"), (2, 3, "tuned")]
