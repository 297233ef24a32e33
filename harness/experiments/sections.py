"""An experiment's section: what to compare, read from TOML and checked before anything runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import ErrorDetails

from harness.errors import InputError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

EMBEDDED: Final = Path(__file__).parent
Value = StrictBool | StrictInt | StrictFloat | StrictStr
Values = Annotated[list[Value], Field(min_length=1)]
Name = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Comparison(_Strict):
    """One benchmark's cases, interleaved round by round in one process."""

    name: Name
    """Unique in the section; the progress and ``--set`` use it."""
    benchmark: StrictStr
    """``module.Class.method``, as asv names it."""
    params: dict[str, Values] = Field(default_factory=dict)
    """Values that take the place of the class's own, by parameter; others keep the class's."""
    contender: StrictStr | None = None
    """The parameter whose values compete: they run one after the other. Default: the first."""
    rounds: Annotated[StrictInt, Field(ge=1)] | None = None
    """Samples of each case; default: the section's."""
    twins: list[Value] = Field(default_factory=list)
    """Contenders measured twice in every round: their difference from themselves is noise."""


class Section(_Strict):
    """A named set of comparisons."""

    title: StrictStr
    """One line for the progress and the report."""
    rounds: Annotated[StrictInt, Field(ge=1)] = 6
    probe: StrictBool = True
    """Whether the machine's limits are probed at the start, in each round and at the end."""
    comparisons: Annotated[list[Comparison], Field(min_length=1)]


def names(file: Path | None = None) -> list[str]:
    """Return the names of a file's sections, or of the embedded ones."""
    return [name for path in _files(file) for name in _tables(path)]


def load(name: str, file: Path | None = None) -> Section:
    """Read a section: an embedded one, or one of the user's file.

    Raises:
        InputError: there is no such section, or something in it is wrong; the text names the
            file, the section, the key and the nearest valid name.
    """
    known: dict[str, tuple[Path, Any]] = {
        found: (path, content) for path in _files(file) for found, content in _tables(path).items()
    }
    if name not in known:
        of_file = f"{file}: " if file is not None else ""
        raise InputError(
            f"{of_file}there is no section {name!r}; expected one of {', '.join(known)}"
            f"{nearest(name, known)}"
        )
    path, content = known[name]
    return parse(content, f"{path.name if file is None else path}: [{name}]")


def where(name: str, file: Path | None = None) -> str:
    """Return how messages name a section: with its file, if that is the user's."""
    return f"[{name}]" if file is None else f"{file}: [{name}]"


def parse(content: Any, where: str) -> Section:
    """Check a section's content.

    Raises:
        InputError: an unknown key, a value of the wrong type, or a name that stands twice.
    """
    try:
        section = Section.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one; what is misspelt is what the user has to know.
        found = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        raise InputError(f"{where}: {_one_line(found, content)}") from None
    seen = [comparison.name for comparison in section.comparisons]
    twice = [name for name in seen if seen.count(name) > 1]
    if twice:
        raise InputError(f"{where}: two comparisons are called {twice[0]!r}")
    return section


def override(
    section: Section, settings: Sequence[str], parameters: Mapping[str, Sequence[str]]
) -> Section:
    """Return the section with ``key=value`` settings of the command line.

    A key is ``rounds``, ``probe`` or a parameter, for all comparisons that have it, or ``rounds``
    or a parameter after a comparison's name and a dot. Commas separate several values.

    Args:
        section: to be changed.
        settings: from the command line.
        parameters: those of each comparison, by its name.

    Raises:
        InputError: a setting has another form, or no comparison has its key.
    """
    content = section.model_dump()
    for setting in settings:
        key, sign, text = (part.strip() for part in setting.partition("="))
        if not sign or not key or not text:
            raise InputError(f"--set {setting}: expected key=value")
        values = [_value(part) for part in text.split(",")]
        if key in ("rounds", "probe"):
            content[key] = values[0]
            for comparison in content["comparisons"]:
                comparison["rounds"] = None if key == "rounds" else comparison["rounds"]
        else:
            _override_comparisons(content["comparisons"], key, values, parameters)
    return parse(content, "--set")


def only(section: Section, chosen: Sequence[str]) -> Section:
    """Return the section with the chosen comparisons alone, in the section's order.

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
    return section.model_copy(update={"comparisons": kept})


def _override_comparisons(
    comparisons: Sequence[dict[str, Any]],
    key: str,
    values: list[Any],
    parameters: Mapping[str, Sequence[str]],
) -> None:
    """Set a parameter, or the rounds, of the comparisons that a key means."""
    scope, _, name = key.rpartition(".")
    if scope and scope not in parameters:
        raise InputError(f"--set {key}: no comparison {scope!r}{nearest(scope, parameters)}")
    chosen = [item for item in comparisons if scope in ("", item["name"])]
    having = [item for item in chosen if name in (*parameters[item["name"]], "rounds")]
    if not having:
        known = {"rounds", *(known for item in chosen for known in parameters[item["name"]])}
        raise InputError(f"--set {key}: no comparison has {name!r}{nearest(name, known)}")
    for item in having:
        if name == "rounds":
            item["rounds"] = values[0]
        else:
            item["params"] = {**item["params"], name: values}


def _value(text: str) -> Any:
    """Return a value as TOML reads it, and a bare word as a string."""
    try:
        return tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _files(file: Path | None) -> list[Path]:
    return sorted(EMBEDDED.glob("*.toml")) if file is None else [file]


def _tables(path: Path) -> dict[str, Any]:
    """Return the sections of a file."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no valid TOML: {error}") from error
    strays = [key for key, value in content.items() if not isinstance(value, dict)]
    if strays:
        raise InputError(f"{path}: key {strays[0]!r} stands outside of any section")
    return content


def _one_line(error: ErrorDetails, content: Any) -> str:
    """Describe the first thing that is wrong: the key, what was found, what was expected."""
    location = error["loc"]
    key = _dotted(location, content)
    if error["type"] == "extra_forbidden":
        model = Comparison if location[0] == "comparisons" else Section
        name = str(location[-1])
        return f"unknown key {key!r}{nearest(name, model.model_fields)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _dotted(location: Sequence[int | str], content: Any) -> str:
    """Return ``durable_write.params.format`` for where in the content an error lies."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, int) and parts == ["comparisons"]:
            comparison: Mapping[str, Any] = content["comparisons"][part]
            parts = [str(comparison.get("name", f"comparisons[{part}]"))]
        elif isinstance(part, str) and part not in ("bool", "int", "float", "str"):
            parts.append(part)
    return ".".join(parts)
