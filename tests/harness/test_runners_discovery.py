"""The cases that discovery finds: ids, order, the quick form, and what it refuses."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.benchmark import Benchmark
from harness.discovery import cases, combinations, load_package, module_cases, parameter_axes
from harness.errors import InputError


def module(**members: Any) -> types.ModuleType:
    found = types.ModuleType("benchmarks.io.disk")
    vars(found).update(members)
    return found


class Write(Benchmark):
    params = (("torch", "direct"), (1, 2.5), (True,))
    param_names = ("format", "size", "sync")

    def time_write(self, *params: Any) -> None: ...

    def time_again(self, *params: Any) -> None: ...

    def track_bytes(self, *params: Any) -> float:
        return 0.0

    def not_a_benchmark(self) -> None: ...


def test_an_id_is_the_benchmark_s_name_and_the_values_reprs() -> None:
    found = module_cases(module(Write=Write))
    assert found[0].id == "io.disk.Write.time_again('torch', 1, True)"
    assert found[0].benchmark == "io.disk.Write.time_again"
    assert found[0].values == ("torch", 1, True)
    assert dict(found[0].params) == {"format": "torch", "size": 1, "sync": True}


def test_methods_come_by_name_and_parameters_in_the_order_of_the_product() -> None:
    ids = [case.id.partition("Write.")[2] for case in module_cases(module(Write=Write))]
    values = ["('torch', 1, True)", "('torch', 2.5, True)", "('direct', 1, True)",
              "('direct', 2.5, True)"]  # fmt: skip
    methods = ["time_again", "time_write", "track_bytes"]
    assert ids == [method + value for method in methods for value in values]


def test_a_class_without_parameters_has_one_case_with_a_bare_id() -> None:
    class Plain(Benchmark):
        def time_it(self) -> None: ...

    assert [case.id for case in module_cases(module(Plain=Plain))] == ["io.disk.Plain.time_it"]


def test_one_flat_sequence_is_one_parameter_and_names_may_lack_as_in_asv() -> None:
    class Flat(Benchmark):
        params = ("a", "b")

    class Unnamed(Benchmark):
        params = (("a",), (1, 2))
        param_names = ("kind",)

    assert parameter_axes(Flat) == {"param1": ("a", "b")}
    assert parameter_axes(Unnamed) == {"kind": ("a",), "param2": (1, 2)}


def test_the_quick_form_takes_first_values_unless_the_class_names_others() -> None:
    class Named(Write):
        quick = {"format": ("direct", "torch")}

    class Slow(Write):
        quick = None

    assert combinations(Write, quick=True) == [{"format": "torch", "size": 1, "sync": True}]
    assert [found["format"] for found in combinations(Named, quick=True)] == ["torch", "direct"]
    assert combinations(Slow, quick=True) == []
    assert len(combinations(Slow)) == 4


@pytest.mark.parametrize("quick", [{"format": ("zip",)}, {"colour": ("red",)}])
def test_the_quick_form_is_a_part_of_the_whole(quick: dict[str, tuple[str, ...]]) -> None:
    cls = type("Odd", (Write,), {"quick": quick})
    with pytest.raises(InputError, match=r"Odd\.quick: .* is not among its params"):
        combinations(cls, quick=True)


def test_a_value_that_stands_twice_would_get_another_id_in_asv_and_is_refused() -> None:
    class Twice(Benchmark):
        params = (("a", "a"),)
        param_names = ("kind",)

    with pytest.raises(InputError, match="a value of kind stands there twice"):
        parameter_axes(Twice)


def test_what_only_asv_can_run_is_refused_by_name() -> None:
    class Peak(Benchmark):
        def peakmem_load(self) -> None: ...

    class Foreign:
        def time_it(self) -> None: ...

    def time_function() -> None: ...

    for members in ({"Peak": Peak}, {"Foreign": Foreign}, {"time_function": time_function}):
        with pytest.raises(InputError, match="can be run by asv alone"):
            module_cases(module(**members))


def test_private_names_and_the_base_itself_are_no_benchmarks() -> None:
    assert module_cases(module(_Write=Write, Benchmark=Benchmark, number=3)) == []


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package on disk, forgotten afterwards."""
    folder = tmp_path / "suite_on_disk"
    (folder / "deep").mkdir(parents=True)
    source = (
        "from harness.benchmark import Benchmark\n"
        "class {name}(Benchmark):\n"
        "    params = ((1, 2),)\n"
        "    param_names = ('n',)\n"
        "    def time_it(self, n): pass\n"
    )
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "zebra.py").write_text(source.format(name="Zebra"))
    (folder / "deep" / "ant.py").write_text(source.format(name="Ant"))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


def test_a_package_is_found_by_its_folder_and_searched_in_depth(package: Path) -> None:
    assert [case.id for case in cases(package)] == [
        "deep.ant.Ant.time_it(1)",
        "deep.ant.Ant.time_it(2)",
        "zebra.Zebra.time_it(1)",
        "zebra.Zebra.time_it(2)",
    ]
    assert [case.id for case in cases(package, quick=True)] == [
        "deep.ant.Ant.time_it(1)",
        "zebra.Zebra.time_it(1)",
    ]
    assert [case.id for case in cases(package, select=r"^zebra.*\(2\)$")] == [
        "zebra.Zebra.time_it(2)"
    ]


def test_a_package_that_lies_elsewhere_is_never_taken_for_the_one_asked_for(
    package: Path, tmp_path: Path
) -> None:
    load_package(package)
    other = tmp_path / "elsewhere" / package.name
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    with pytest.raises(InputError, match="is already imported from"):
        load_package(other)


def test_a_package_that_fails_to_import_is_not_half_there(package: Path) -> None:
    (package / "__init__.py").write_text("raise RuntimeError('not today')")
    with pytest.raises(RuntimeError, match="not today"):
        load_package(package)
    assert package.name not in sys.modules


def test_wrong_names_and_expressions_are_one_line(package: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no package of benchmarks called no_such_thing"):
        cases("no_such_thing")
    with pytest.raises(InputError, match="is no package of benchmarks"):
        cases(tmp_path / "nothing")
    with pytest.raises(InputError, match="is no regular expression"):
        cases(package, select="(")
