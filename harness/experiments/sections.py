"""An experiment's section: what to compare, how often, where and under which limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from harness.errors import InputError, nearest
from harness.figure_spec import FigureSpec, Name, Value
from prevent_caching.rates import parse_rate

Values = Annotated[list[Value], Field(min_length=1)]
Count = Annotated[StrictInt, Field(ge=1)]
EngineName = Literal["processes", "ray", "mpi", "slurm"]

RESOLVED: Final = ("extends", "only")
"""Keys of a section's table that `harness.experiments.library` resolves before it is checked."""

_BYTES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)")
_UNITS: Final = {"B": 1} | {
    f"{letter}{infix}B": base**power
    for power, letter in enumerate("KMGT", 1)
    for infix, base in (("", 1000), ("i", 1024))
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Comparison(_Strict):
    """One benchmark's cases: contenders side by side, for each value of the other parameters."""

    name: Name
    """Unique in the section; the progress and ``--set`` use it."""
    benchmark: StrictStr
    """``module.Class.method``, as asv names it."""
    params: dict[str, Values] = Field(default_factory=dict)
    """Values that take the place of the class's own, by parameter; others keep the class's."""
    contender: StrictStr | None = None
    """The parameter whose values compete: they run one after the other. Default: the first."""
    interleave: list[StrictStr] = Field(default_factory=list)
    """Further parameters whose values take turns in one process, where they are compared, too."""
    rounds: Count | None = None
    """Samples of each case; default: the section's."""
    twins: list[Value] = Field(default_factory=list)
    """Contenders measured twice in every round: their difference from themselves is noise."""


class IoLimit(_Strict):
    """Bandwidths that the data folder's disk is limited to while samples are taken."""

    read: StrictStr | None = None
    """Such as ``200MB/s``."""
    write: StrictStr | None = None

    @field_validator("read", "write")
    @classmethod
    def _is_rate(cls, text: str | None) -> str | None:
        if text is not None:
            parse_rate(text)
        return text

    @property
    def rates(self) -> tuple[int | None, int | None]:
        """Bytes per second of reads and writes; None where they are free."""
        read, write = (
            None if text is None else parse_rate(text) for text in (self.read, self.write)
        )
        return read, write


class Section(_Strict):
    """A named set of comparisons, with the figures that are drawn from them."""

    title: StrictStr
    """One line for the progress and the report."""
    rounds: Count = 6
    """Samples of each case, interleaved in one process."""
    repetitions: Count = 1
    """How often everything is measured again, in new processes, later in the run."""
    seeds: Annotated[list[StrictInt], Field(min_length=1)] = [0]
    """Of the inputs; every cell is measured with each of them."""
    probe: StrictBool = True
    """Whether the machine's limits are probed at the start, in each round and at the end."""
    time_limit: Annotated[StrictInt | StrictFloat, Field(gt=0)] | None = None
    """Seconds that one sample may take; default: the ``timeout`` of its class."""
    memory_limit: StrictStr | None = None
    """Private memory that a cell's process may have, such as ``8 GiB``."""
    io_limit: IoLimit | None = None
    engine: EngineName = "processes"
    """Who starts the processes: see `harness.experiments.engines`."""
    jobs: Count = 1
    """Cells that are measured at the same time. On one machine they disturb each other."""
    engine_options: dict[str, Value] = Field(default_factory=dict)
    """Passed on to the engine: Slurm's partition, Ray's address, …"""
    set: dict[str, Value | Values] = Field(default_factory=dict)
    """Changes to what the section inherits, with the keys of ``--set``."""
    test: dict[str, Value | Values] = Field(default_factory=dict)
    """What ``--test`` changes: the size at which the section ends in a minute."""
    comparisons: Annotated[list[Comparison], Field(min_length=1)]
    figures: list[FigureSpec] = Field(default_factory=list)
    """Drawn by the report from this section's records."""
    published: list[StrictStr] = Field(default_factory=list)
    """Published figures that the report draws beside, such as ``alsatian/fig10``."""

    @field_validator("memory_limit")
    @classmethod
    def _is_size(cls, text: str | None) -> str | None:
        if text is not None:
            parse_bytes(text)
        return text

    @field_validator("seeds")
    @classmethod
    def _are_distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("a seed stands there twice")
        return seeds


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as ``512 MB`` (10⁶) or ``8 GiB`` (2³⁰).

    Raises:
        ValueError: another form, or less than one byte.
    """
    found = _BYTES.fullmatch(text.strip())
    nbytes = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if nbytes < 1:
        raise ValueError(f"{text!r} is no size: write for example 512 MB or 8 GiB")
    return nbytes


def parse(content: Mapping[str, Any], where: str) -> Section:
    """Check a section's content.

    Raises:
        InputError: an unknown key, a value of the wrong type, or something missing.
    """
    content = {**content, **_dotted_tables(content)}
    try:
        return Section.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one; what is misspelt is what the user has to know.
        found = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        raise InputError(f"{where}: {_one_line(found, content)}") from None


def only(section: Section, chosen: Sequence[str]) -> Section:
    """Return the section with the chosen comparisons alone, in the section's order.

    Figures of what is left out are left out, too.

    Raises:
        InputError: there is no comparison of a name.
    """
    known = [comparison.name for comparison in section.comparisons]
    for name in chosen:
        if name not in known:
            raise InputError(
                f"--only {name}: no such comparison; expected one of {', '.join(known)}"
                f"{nearest(name, known)}"
            )
    kept = [comparison for comparison in section.comparisons if comparison.name in chosen]
    measured = {None, *(comparison.benchmark for comparison in kept)}
    figures = [figure for figure in section.figures if figure.benchmark in measured]
    return section.model_copy(update={"comparisons": kept, "figures": figures})


def _dotted_tables(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``set`` and ``test`` with ``{"writes": {"model": …}}`` as ``{"writes.model": …}``."""
    found = {}
    for name in ("set", "test"):
        table = content.get(name)
        if isinstance(table, dict):
            flat: dict[str, Any] = {}
            for key, value in table.items():
                inner = value.items() if isinstance(value, dict) else None
                flat |= {key: value} if inner is None else {f"{key}.{k}": v for k, v in inner}
            found[name] = flat
    return found


def _one_line(error: ErrorDetails, content: Any) -> str:
    """Describe the first thing that is wrong: the key, what was found, what was expected."""
    location = error["loc"]
    key = _dotted(location, content)
    if error["type"] == "extra_forbidden":
        models: dict[Any, type[BaseModel]] = {
            "comparisons": Comparison,
            "figures": FigureSpec,
            "io_limit": IoLimit,
        }
        known = models.get(location[0], Section).model_fields if len(location) > 1 else _KEYS
        return f"unknown key {key!r}{nearest(str(location[-1]), known)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    return f"{key} = {error['input']!r}: {_message(error)}"


def _message(error: ErrorDetails) -> str:
    """Return what was expected; pydantic complains once for each type that would have been fine."""
    if error["type"] == "literal_error":
        expected = str(error.get("ctx", {})["expected"])
        return f"expected {expected}{nearest(str(error['input']), _QUOTED.findall(expected))}"
    for kind in (f"{error['type']} {error['loc'][-1]}", error["type"]):
        if kind in _EXPECTED:
            return f"expected {_EXPECTED[kind]}"
    message = error["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


_KEYS: Final = (*Section.model_fields, *RESOLVED)
_EXPECTED: Final = {
    "bool_type bool": "a text, a number, true or false",
    "int_type int": "a number",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
"""What was expected, by pydantic's type of an error, and the type that it tried first."""
_QUOTED: Final = re.compile(r"'([^']*)'")
_TRIED: Final = re.compile(r"bool|int|float|str|(list\[|constrained-|function-).*")
"""What pydantic puts into a location beside keys: the types that it tried."""


def _dotted(location: Sequence[int | str], content: Any) -> str:
    """Return ``durable_write.params.format`` for where in the content an error lies."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, int) and len(parts) == 1 and parts[0] in ("comparisons", "figures"):
            item = content[parts[0]][part]
            name = item.get("name") if isinstance(item, dict) else None
            # The keys of ``--set`` begin with the name of a comparison, too.
            named = name if parts[0] == "comparisons" else f"figures.{name}"
            parts = [f"{parts[0]}[{part}]" if name is None else str(named)]
        elif isinstance(part, str) and (len(parts) < 1 or not _TRIED.fullmatch(part)):
            parts.append(part)
    return ".".join(parts)
