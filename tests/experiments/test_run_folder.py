"""Folders of runs: which one a run goes into, what it says of itself, and who may write into it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_toys import make_package, section

from harness.errors import InputError
from harness.experiments import Experiment, call_for, chosen_folder, define, folder_for
from harness.experiments import run_folder as run_folder_module
from harness.experiments.run_folder import described, machine_reserved
from harness.machine import machine_name
from harness.records import read_run

HOLD = """
import sys
from pathlib import Path
from harness.experiments.run_folder import RunFolder, machine_reserved
path, how = Path(sys.argv[1]), sys.argv[2]
lock = RunFolder(path, "").lock(how) if how == "cell" else machine_reserved(
    path, "bench-core run elsewhere", shared=how == "shared"
)
with lock:
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("folder"), "toys_of_folders")


def experiment(tmp_path: Path, package: Path, name: str = "toy", **options: Any) -> Experiment:
    file = tmp_path / "toy.toml"
    file.write_text(section(name))
    return define(call_for(name, directory=tmp_path, file=file, package=package, **options))


@pytest.fixture
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A lock that another process holds until the end of the test."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield f"process {process.pid} (bench-core run elsewhere)"


def test_the_same_code_on_the_same_machine_has_the_same_folder(
    tmp_path: Path, package: Path
) -> None:
    root = tmp_path / "runs"
    first = folder_for(experiment(tmp_path, package), root=root)
    assert first.path.parent == root / "toy"
    assert first.path.name.startswith(f"{machine_name()}-")
    assert first.path.is_dir()
    wider = experiment(tmp_path, package, words=["rounds=9", "seeds=1,2"])
    assert folder_for(wider, root=root) == first


def test_another_code_section_test_or_limit_has_another_folder(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    first = folder_for(experiment(tmp_path, package), root=root)
    others = [
        folder_for(experiment(tmp_path, package, "other"), root=root),
        folder_for(experiment(tmp_path, package, is_test=True), root=root),
        folder_for(experiment(tmp_path, package, words=["io_limit.read=1MB/s"]), root=root),
    ]
    monkeypatch.setattr(run_folder_module, "code_digest", lambda package: "other code")
    others.append(folder_for(experiment(tmp_path, package), root=root))
    assert len({first.path, *(other.path for other in others)}) == 5
    assert others[1].path.parent.name == "toy-test"


def test_a_new_generation_lies_beside_the_old_ones_and_is_gone_on_with(
    tmp_path: Path, package: Path
) -> None:
    root, defined = tmp_path / "runs", experiment(tmp_path, package)
    first = folder_for(defined, root=root, is_new=True)
    second = folder_for(defined, root=root, is_new=True)
    assert second.path == first.path.with_name(f"{first.path.name}-2")
    assert folder_for(defined, root=root) == second
    assert folder_for(defined, root=root, is_new=True).path.name == f"{first.path.name}-3"


def test_a_folder_says_what_it_is_of(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "out"
    folder = chosen_folder(out, experiment(tmp_path, package, words=["rounds=2"], only=["toys"]))
    found = described(out)
    assert found == json.loads((out / "experiment.json").read_text())
    assert (found["section"], found["title"], found["rounds"]) == ("toy", "Toys", 2)
    assert (found["code"], found["machine"]) == (folder.code, machine_name())
    assert (found["set"], found["only"]) == (["rounds=2"], ["toys"])
    assert (found["file"], found["benchmarks"]) == (str(tmp_path / "toy.toml"), str(package))
    assert list(out.glob(".*")) == []


def test_it_says_so_of_the_latest_call(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "out"
    chosen_folder(out, experiment(tmp_path, package, words=["rounds=2"]))
    chosen_folder(out, experiment(tmp_path, package, words=["rounds=5"]))
    assert described(out)["rounds"] == 5


@pytest.mark.parametrize(
    ("key", "value"),
    [("section", "other"), ("code", "0" * 64), ("machine", "abacus"), ("io_limit", {"read": "1"})],
)
def test_a_chosen_folder_of_something_else_is_refused_and_left_as_it_was(
    tmp_path: Path, package: Path, key: str, value: Any
) -> None:
    out, defined = tmp_path / "out", experiment(tmp_path, package)
    chosen_folder(out, defined)
    path = out / "experiment.json"
    path.write_text(json.dumps({**described(out), key: value}))
    before = path.read_bytes()
    with pytest.raises(InputError) as raised:
        chosen_folder(out, defined)
    assert str(raised.value).startswith(f"{out} holds results of {key} {value!r}, this is ")
    assert str(raised.value).endswith("; choose another folder")
    assert path.read_bytes() == before


def test_a_file_or_a_place_that_cannot_be_a_folder_is_refused(
    tmp_path: Path, package: Path
) -> None:
    defined, file = experiment(tmp_path, package), tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=r"file is a file; a run needs a folder"):
        chosen_folder(file, defined)
    with pytest.raises(InputError, match=r"out cannot be made: Not a directory"):
        chosen_folder(file / "out", defined)


def test_a_folder_of_samples_that_no_run_claims_is_refused(tmp_path: Path, package: Path) -> None:
    (tmp_path / "stored.jsonl").touch()
    with pytest.raises(InputError, match=r"holds samples and no experiment.json; choose another"):
        chosen_folder(tmp_path, experiment(tmp_path, package))
    assert not (tmp_path / "experiment.json").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file or directory"),
        ("{", "Expecting property name"),
        ("[]", "it names no section"),
        ("{}", "it names no section"),
    ],
)
def test_what_is_no_run_s_folder_is_one_line(
    tmp_path: Path, content: str | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / "experiment.json").write_text(content)
    with pytest.raises(InputError) as raised:
        described(tmp_path)
    begin = f"{tmp_path} is no run's folder: experiment.json: {expected}"
    assert str(raised.value).startswith(begin)
    assert "\n" not in str(raised.value)


def test_each_process_has_a_file_of_its_own_even_if_names_meet(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined = experiment(tmp_path, package)
    folder = chosen_folder(tmp_path / "out", defined)
    names = iter(["same", "same", "same", "next"])
    monkeypatch.setattr(run_folder_module, "new_run_id", lambda: next(names))
    with folder.new_shard(defined) as first, folder.new_shard(defined) as second:
        assert (first.path.name, second.path.name) == ("same.jsonl", "next.jsonl")
    assert folder.shards == [second.path, first.path]  # by name, which begins with the time
    header = read_run(first.path).header
    assert header.settings["code"] == folder.code
    assert header.section == "toy"


def test_a_file_of_samples_that_a_full_disk_does_not_take_is_one_line(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined = experiment(tmp_path, package)
    folder = chosen_folder(tmp_path / "out", defined)
    names = iter(["first", "and no other"])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_folder_module, "new_run_id", lambda: next(names))
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match=r"first\.jsonl cannot be written: No space left"):
            folder.new_shard(defined)
    assert folder.shards == []


def test_a_cell_s_lock_excludes_others_of_that_cell_alone(tmp_path: Path, package: Path) -> None:
    folder = chosen_folder(tmp_path / "out", experiment(tmp_path, package))
    with folder.lock("a") as first, folder.lock("a") as again, folder.lock("b") as other:
        assert (first, again, other) == (True, False, True)
    with folder.lock("a") as later:
        assert later


@pytest.mark.parametrize("held", ["cell"], indirect=True)
def test_a_cell_s_lock_excludes_other_processes(tmp_path: Path, package: Path, held: str) -> None:
    folder = chosen_folder(tmp_path, experiment(tmp_path, package))
    with folder.lock("cell") as is_held:
        assert not is_held


@pytest.mark.parametrize("held", ["alone", "shared"], indirect=True)
def test_who_measures_is_named_to_whoever_comes_second(tmp_path: Path, held: str) -> None:
    with pytest.raises(InputError) as raised, machine_reserved(tmp_path, "second", shared=False):
        pass
    assert str(raised.value) == (
        f"{held} is measuring in {tmp_path}, and two at once disturb each other; "
        "wait for its end, or run both with -j 2 and more"
    )


@pytest.mark.parametrize("held", ["alone"], indirect=True)
def test_who_measures_alone_is_disturbed_by_no_share(tmp_path: Path, held: str) -> None:
    with pytest.raises(InputError), machine_reserved(tmp_path, "second", shared=True):
        pass


@pytest.mark.parametrize("held", ["shared"], indirect=True)
def test_shares_measure_side_by_side(tmp_path: Path, held: str) -> None:
    with machine_reserved(tmp_path, "second", shared=True):
        pass


def test_what_an_earlier_run_left_in_the_lock_is_not_taken_for_the_present_one(
    tmp_path: Path,
) -> None:
    with machine_reserved(tmp_path, "earlier", shared=False):
        pass
    with (
        machine_reserved(tmp_path, "present", shared=True),
        pytest.raises(InputError, match=rf"^process {os.getpid()} \(present\) is measuring"),
        machine_reserved(tmp_path, "third", shared=False),
    ):
        pass


def test_a_lock_that_does_not_say_whose_it_is_is_another_run_s(tmp_path: Path) -> None:
    with machine_reserved(tmp_path, "first", shared=False):
        (tmp_path / "measuring.lock").write_text("")
        with (
            pytest.raises(InputError, match=r"^another run is measuring in"),
            machine_reserved(tmp_path, "second", shared=False),
        ):
            pass
