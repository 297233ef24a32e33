from __future__ import annotations

from pathlib import Path

import pytest
from report_builders import header, machine, record, write_asv, write_run

from harness.report.load import load
from harness.report.settings import (
    differences,
    setting_of_asv,
    setting_of_machine,
    setting_of_pytest,
)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"libraries": {"torch": "2.12.0"}}, "torch: 2.13.0 against 2.12.0"),
        ({"kernel": "6.1"}, "kernel: 6.18.44 against 6.1"),
        ({"file_system": {"kind": "xfs"}}, "file system: ext4 against xfs"),
        ({"memory_bytes": 16 << 30}, "memory: 25.8 GB against 17.2 GB"),
    ],
)
def test_a_fact_that_differs_is_named(change: dict[str, object], line: str) -> None:
    a = setting_of_machine("box", machine(), {})
    b = setting_of_machine("box", machine(**change), {})

    assert differences(a, b) == [line]


@pytest.mark.parametrize(
    ("cgroup", "memory", "cpu"),
    [
        ({"memory": "max", "cpu": "max 100000"}, "none", "none"),
        ({"memory": "9223372036854771712", "cpu": "-1"}, "none", "none"),
        ({"memory": "8000000000", "cpu": "200000 100000"}, "8.00 GB", "200000 100000"),
    ],
)
def test_limits_of_a_container(cgroup: dict[str, str], memory: str, cpu: str) -> None:
    found = setting_of_machine("box", machine(cgroup=cgroup), {})

    assert (found["memory limit"], found["cpu limit"]) == (memory, cpu)


def test_the_scheduler_is_the_chosen_one() -> None:
    disk = {"name": "vda", "queue": {"scheduler": "none [mq-deadline] kyber"}}

    found = setting_of_machine("box", machine(block_device=disk), {})

    assert found["disk scheduler"] == "mq-deadline"


def test_what_cannot_change_a_sample_may_differ() -> None:
    libraries = {"torch": "2.13.0", "safetensors": "0.8.0", "bench-core": "9", "pytest": "1"}
    other = machine(libraries=libraries, load_average=[9, 9, 9], git={"commit": "x", "dirty": True})

    assert not differences(
        setting_of_machine("box", machine(), {}), setting_of_machine("box", other, {})
    )


def test_devices_drivers_and_chosen_types_decide() -> None:
    gpus = [{"name": "H200", "driver": "570.1"}]
    a = setting_of_machine("box", machine(gpus=gpus), {"dtype": "float32", "seed": 1})
    b = setting_of_machine(
        "box", machine(gpus=[{"name": "H200", "driver": "580"}]), {"dtype": "bfloat16", "seed": 2}
    )

    assert differences(a, b) == ["driver: 570.1 against 580", "dtype: float32 against bfloat16"]


def test_what_only_one_side_states_is_no_difference() -> None:
    run = setting_of_machine("box", machine(), {})
    asv = setting_of_asv("box", {"cpu": "AMD EPYC", "num_cpu": "2", "gpu": "none"}, {"torch": ""})
    other = setting_of_pytest("box", {"cpu": {"brand_raw": "AMD EPYC"}, "python_version": "3.11.7"})

    assert not differences(run, asv)
    assert not differences(run, other)


def test_asv_s_own_keys_count_but_an_interpreter_s_path_does_not() -> None:
    a = setting_of_asv("box", {"python": "/a/bin/python", "driver": "1"}, {})
    b = setting_of_asv("box", {"python": "/b/bin/python", "driver": "2"}, {})

    assert differences(a, b) == ["driver: 1 against 2"]


def test_runs_that_differ_are_kept_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a.jsonl", [record()], header("a"))
    write_run(tmp_path / "b.jsonl", [record()], header("b"))
    write_run(tmp_path / "c.jsonl", [record()], header("c", machine=machine(kernel="6.1")))

    results = load([tmp_path])

    settings = results.samples.set_index("run")["setting"]
    assert settings["a"] == settings["b"] == "amd-epyc-2c-vm"
    assert settings["c"] == "amd-epyc-2c-vm (2)"
    assert not results.differences


def test_mixing_on_request_names_the_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "a.jsonl", [record()], header("a"))
    write_run(tmp_path / "c.jsonl", [record()], header("c", machine=machine(kernel="6.1")))

    results = load([tmp_path], allow_different=True)

    assert results.samples["setting"].nunique() == 1
    assert results.differences == {"amd-epyc-2c-vm": ["kernel: 6.18.44 against 6.1"]}


def test_the_same_machine_in_asv_and_in_a_run(tmp_path: Path) -> None:
    entry = {"mod.time_x": [[0.5]]}
    write_asv(tmp_path / "asv", entry, {"mod.time_x": ()}, cpu="AMD EPYC")
    write_run(tmp_path / "a.jsonl", [record()], header("a", machine_name="testbox"))

    assert load([tmp_path]).samples["setting"].nunique() == 1
