"""``bench-core search`` as a process: the ranking, resuming, and one line for what is wrong."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.models.chains import family
from bench_core.snapshots import SnapshotStore, synthetic_set
from harness.cli import main

DATA = ("--data", "digit_vectors", "--num-train-items", "300", "--num-test-items", "100")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SnapshotStore:
    found = SnapshotStore(tmp_path_factory.mktemp("store"))
    synthetic_set(found, "mlp_deep", "TWENTY_FIVE_PERCENT", 12)
    return found


def command(store: SnapshotStore, *options: str) -> list[str]:
    models = ("--models", str(store.folder))
    return [sys.executable, "-m", "harness.cli", "search", *models, *options]


def run(tmp_path: Path, store: SnapshotStore, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(store, *options),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment(tmp_path),
        cwd=tmp_path,
    )


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "BENCH_CORE_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}


def found(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_prints_the_ranking_and_writes_everything(tmp_path: Path, store: SnapshotStore) -> None:
    done = run(tmp_path, store, *DATA, "--json", "out.json", "--top", "3")
    assert done.returncode == 0, done.stderr
    result = found(tmp_path / "out.json")
    assert [item["rank"] for item in result["ranking"]] == list(range(1, 13))
    assert result["ranking"][0]["name"] in done.stdout
    assert result["ranking"][3]["name"] not in done.stdout
    assert "estimated:" in done.stdout
    assert "round 1 of 3: 12 models" in done.stderr
    assert "round 3 of 3: 3 models" in done.stderr
    assert result["work"]["counts"]["block_executions"] > 0


def test_the_same_command_takes_up_what_is_done(tmp_path: Path, store: SnapshotStore) -> None:
    first = run(tmp_path, store, *DATA, "--json", "first.json")
    again = run(tmp_path, store, *DATA, "--json", "again.json")
    assert first.returncode == again.returncode == 0, again.stderr
    before, after = found(tmp_path / "first.json"), found(tmp_path / "again.json")
    assert after["rounds"] == before["rounds"]
    assert after["work"]["counts"].get("block_executions", 0) == 0
    assert after["work"]["counts"]["batches_resumed"] > 0


def test_killed_in_the_middle_it_goes_on_to_the_same_table(
    tmp_path: Path, store: SnapshotStore
) -> None:
    options = (*DATA, "--batch-size", "1", "--no-estimate", "--journal", "j.sqlite")
    whole = run(tmp_path, store, *options, "--no-journal", "--json", "whole.json")
    assert whole.returncode == 0, whole.stderr
    process = started(tmp_path, store, *options)
    _wait_for_rows(tmp_path / "j.sqlite", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = run(tmp_path, store, *options, "--json", "out.json")
    assert done.returncode == 0, done.stderr
    result, expected = found(tmp_path / "out.json"), found(tmp_path / "whole.json")
    assert result["rounds"] == expected["rounds"]
    counts, all_counts = result["work"]["counts"], expected["work"]["counts"]
    assert counts["batches_resumed"] > 0
    assert counts.get("block_executions", 0) < all_counts["block_executions"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_at_any_moment_it_goes_on_to_the_same_table(
    seed: int, tmp_path: Path, store: SnapshotStore
) -> None:
    options = (*DATA, "--batch-size", "1", "--no-estimate")
    began = time.monotonic()
    whole = run(tmp_path, store, *options, "--no-journal", "--json", "whole.json")
    assert whole.returncode == 0, whole.stderr
    moments, lasts = random.Random(seed), time.monotonic() - began
    for _ in range(3):
        process = started(tmp_path, store, *options, "--journal", "j.sqlite")
        time.sleep(moments.uniform(0, lasts))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = run(tmp_path, store, *options, "--journal", "j.sqlite", "--json", "out.json")
    assert done.returncode == 0, done.stderr
    assert found(tmp_path / "out.json")["rounds"] == found(tmp_path / "whole.json")["rounds"]


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    tmp_path: Path, store: SnapshotStore
) -> None:
    options = (*DATA, "--batch-size", "1", "--no-estimate", "--json", "out.json")
    whole = run(tmp_path, store, *options, "--no-journal")
    assert whole.returncode == 0, whole.stderr
    expected = found(tmp_path / "out.json")
    (tmp_path / "out.json").unlink()
    process = started(tmp_path, store, *options, "--journal", "j.sqlite")
    _wait_for_rows(tmp_path / "j.sqlite", process)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert [line for line in error.splitlines() if "goes on from j.sqlite" in line]
    assert not (tmp_path / "out.json").exists()
    done = run(tmp_path, store, *options, "--journal", "j.sqlite")
    assert done.returncode == 0, done.stderr
    result = found(tmp_path / "out.json")
    assert result["rounds"] == expected["rounds"]
    assert result["ranking"] == expected["ranking"]
    assert result["work"]["counts"]["batches_resumed"] > 20


def test_two_commands_at_once_on_one_store_and_journal_end_right(
    tmp_path: Path, store: SnapshotStore
) -> None:
    options = (*DATA, "--batch-size", "4", "--no-estimate", "--journal", "j.sqlite")
    pair = [started(tmp_path, store, *options, "--json", f"{name}.json") for name in "ab"]
    ends = [process.communicate(timeout=120) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    alone = run(tmp_path, store, *options[:-2], "--no-journal", "--json", "alone.json")
    assert alone.returncode == 0, alone.stderr
    expected = found(tmp_path / "alone.json")["rounds"]
    assert [found(tmp_path / f"{name}.json")["rounds"] for name in "ab"] == [expected] * 2


def started(tmp_path: Path, store: SnapshotStore, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(store, *options),
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_rows(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the journal has some features, or the search is over."""
    import sqlite3

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists():
            try:
                with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                    if connection.execute("SELECT count(*) FROM features").fetchone()[0] > 20:
                        return
            except sqlite3.OperationalError:
                pass
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--data", "digit_vektors"), "digit_vectors"),
        ((*DATA, "--engine", "sharde"), "did you mean 'shared'"),
        ((*DATA, "--proxy", "logm"), "did you mean 'logme'"),
        ((*DATA, "--budget", "many"), "--budget"),
        ((*DATA, "--budget", "1 KiB"), "at least"),
        (("--data", "digits"), "takes vector"),
        (("--data", "digit_vectors", "--num-train-items", "7"), "too few"),
        ((*DATA, "--proxy-setting", "epochs"), "KEY=VALUE"),
        ((*DATA, "--proxy", "leep"), "classifier"),
        ((*DATA, "--batch-size", "0"), "at least 1"),
        ((*DATA, "--json", "missing/out.json"), "there is no folder missing"),
        ((*DATA, "--json", "/proc/out.json"), "nothing can be written there"),
        ((*DATA, "--architecture", "mlp_deep"), "--architecture is for a folder of tensor files"),
    ],
)
def test_what_is_wrong_is_one_line(
    store: SnapshotStore,
    options: tuple[str, ...],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["search", "--models", str(store.folder), *options, "--no-estimate"])
    assert ended.value.code == 2
    assert text in capfd.readouterr().err.splitlines()[-1]


def test_labels_are_refused_before_anything_is_timed_for_the_estimate(
    store: SnapshotStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path))
    options = ("--data", "digit_vectors", "--num-train-items", "20", "--proxy", "hscore")
    with pytest.raises(SystemExit) as ended:
        main(["search", "--models", str(store.folder), *options])
    assert ended.value.code == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "a round has 2" in said.err
    assert "give at least 145 in this order" in said.err


def save_states(folder: Path, n_models: int) -> None:
    """Save models as files of tensors, every other one by torch, the rest as safetensors."""
    from safetensors.torch import save_file

    owner = family("mlp")
    model = owner.reference(owner.configuration(**owner.configurations["mlp_tiny"]))
    folder.mkdir()
    for index in range(n_models):
        torch.manual_seed(index)
        owner.initialise(model)
        if index % 2:
            torch.save(model.state_dict(), folder / f"m{index}.pt")
        else:
            save_file(model.state_dict(), folder / f"m{index}.safetensors")


def test_a_folder_of_files_of_tensors_is_searched_by_their_architecture(tmp_path: Path) -> None:
    models = tmp_path / "states"
    save_states(models, 4)
    (models / "notes.txt").write_text("no model", encoding="utf-8")
    options = ("--architecture", "mlp_tiny", *DATA, "--no-estimate", "--json", "out.json")
    done = run(tmp_path, SnapshotStore(models), *options)
    assert done.returncode == 0, done.stderr
    ranking = found(tmp_path / "out.json")["ranking"]
    assert {item["name"] for item in ranking} == {"m0", "m1", "m2", "m3"}
    (models / "broken.pt").write_bytes(b"no tensors")
    left = run(tmp_path, SnapshotStore(models), *options)
    assert left.returncode == 3
    assert str(models / "broken.pt") in left.stderr
    again = found(tmp_path / "out.json")
    assert again["ranking"] == ranking
    assert again["work"]["counts"].get("block_executions", 0) == 0


@pytest.mark.parametrize(
    ("names", "options", "text"),
    [
        (["m0.pt"], (), "say of what models with --architecture"),
        (["m0.pt"], ("--architecture", "mlp_tiny"), "none of 1 models could be imported"),
        (["m0.txt"], ("--architecture", "mlp_tiny"), "none of *.safetensors, *.pt, *.pth"),
        (["m0.pt"], ("--architecture", "mlp_tinny"), "mlp_tiny"),
    ],
)
def test_a_folder_of_files_that_cannot_be_searched_is_refused_in_one_line(
    names: list[str],
    options: tuple[str, ...],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    models = tmp_path / "states"
    models.mkdir()
    for name in names:
        (models / name).write_bytes(b"no tensors")
    with pytest.raises(SystemExit) as ended:
        main(["search", "--models", str(models), *options, *DATA])
    assert ended.value.code == 2
    assert text in capfd.readouterr().err.splitlines()[-1]


def test_models_that_do_not_take_the_data_are_named_or_left_out(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "store")
    fit = {model.name for model in synthetic_set(store, "mlp_deep", "TOP_LAYERS", 5)}
    others = {model.name for model in synthetic_set(store, "resnet_tiny", "TOP_LAYERS", 2)}
    refused = run(tmp_path, store, *DATA)
    assert refused.returncode == 2
    line = refused.stderr.splitlines()[-1]
    assert "2 of 7 models do not take the data" in line
    assert all(name in line for name in others)
    left = run(tmp_path, store, *DATA, "--skip-unusable", "--json", "out.json")
    assert left.returncode == 3, left.stderr
    ranking = found(tmp_path / "out.json")["ranking"]
    assert {item["name"] for item in ranking if item["round"] >= 0} == fit
    assert {item["name"] for item in ranking if item["round"] < 0} == others
    assert "5 models" in left.stdout


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = run(tmp_path, SnapshotStore(tmp_path / "empty"), *DATA)
    assert done.returncode == 2
    assert "Hugging Face layout" in done.stderr


def test_a_damaged_block_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "store")
    models = synthetic_set(store, "mlp_deep", "FIFTY_PERCENT", 6)
    own = next(b for b in models[-1].blocks if b.key not in {x.key for x in models[0].blocks})
    having = set(store.models_of(own.key))
    path = store.block_path(own)
    path.write_bytes(path.read_bytes()[:-4])
    done = run(tmp_path, store, *DATA, "--no-estimate")
    assert done.returncode == 2
    assert own.key[-8:] in done.stderr.splitlines()[-1]
    options = (*DATA, "--no-estimate", "--skip-unusable", "--json", "out.json")
    left = run(tmp_path, store, *options)
    assert left.returncode == 3, left.stderr
    ranking = found(tmp_path / "out.json")["ranking"]
    assert {item["name"] for item in ranking if item["round"] < 0} == having
    assert "left out" in left.stdout


def test_a_damaged_manifest_is_named_or_its_model_left_out(
    tmp_path: Path, store: SnapshotStore
) -> None:
    name = store.names()[3]
    (manifest,) = store.folder.glob(f"**/{name}.json")
    whole = manifest.read_bytes()
    manifest.chmod(0o644)
    manifest.write_text("{")
    try:
        refused = run(tmp_path, store, *DATA, "--no-estimate")
        left = run(tmp_path, store, *DATA, "--skip-unusable", "--json", "out.json")
    finally:
        manifest.write_bytes(whole)
    assert refused.returncode == 2
    assert name in refused.stderr.splitlines()[-1]
    assert left.returncode == 3, left.stderr
    ranking = found(tmp_path / "out.json")["ranking"]
    assert [item["name"] for item in ranking if item["round"] < 0] == [name]
