"""Changes to a section by ``key=value``: from the command line, its ``set``, its ``test``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from harness import toml_reader
from harness.errors import InputError, nearest
from harness.experiments.sections import Section, parse

SCALARS: Final = (
    "rounds",
    "repetitions",
    "probe",
    "time_limit",
    "memory_limit",
    "engine",
    "jobs",
)
LISTS: Final = ("seeds",)
TABLES: Final = ("engine_options", "io_limit")
"""Keys whose own keys follow behind a dot: ``engine_options.cluster``."""
Settings = Mapping[str, list[Any]]

_COMMA: Final = re.compile(r""",(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")
"""A comma that is not inside quotation marks."""


def from_words(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return the settings in words such as ``model=resnet18,bert_base``.

    A value is read as TOML reads it, and a bare word as a string; what is quoted may have commas.

    Raises:
        InputError: a word has another form.
    """
    found = {}
    for word in words:
        key, sign, text = (part.strip() for part in word.partition("="))
        parts = [part.strip() for part in _COMMA.split(text)]
        if not sign or not key or not all(parts):
            raise InputError(f"--set {word}: expected key=value or key=value,value")
        found[key] = [_value(part) for part in parts]
    return found


def from_table(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the settings in a section's ``set`` or ``test``."""
    return {key: value if isinstance(value, list) else [value] for key, value in table.items()}


def apply(
    section: Section, settings: Settings, parameters: Mapping[str, Sequence[str]], where: str
) -> Section:
    """Return the section with settings applied.

    A key is one of `SCALARS` and `LISTS`, a key of one of `TABLES`, or a parameter, for all
    comparisons that have it, or ``rounds``, ``twins`` or a parameter after a comparison's name and
    a dot.

    Args:
        section: to be changed.
        settings: key to values.
        parameters: those of each comparison, by its name.
        where: what messages begin with.

    Raises:
        InputError: no comparison has a key, or a value is wrong.
    """
    content = section.model_dump()
    for key, values in settings.items():
        if key in LISTS:
            content[key] = values
        elif key.partition(".")[0] in TABLES:
            _require_one(key, values, where)
            table, _, name = key.partition(".")
            if not name:
                raise InputError(f"{where}: {key}: name what is in it, as in {key}.NAME")
            content[table] = {**(content[table] or {}), name: values[0]}
        elif key in SCALARS:
            _require_one(key, values, where)
            content[key] = values[0]
            if key == "rounds":
                content["comparisons"] = [{**c, "rounds": None} for c in content["comparisons"]]
        else:
            _set_in_comparisons(content["comparisons"], key, values, parameters, where)
    return parse(content, where)


def _set_in_comparisons(
    comparisons: Sequence[dict[str, Any]],
    key: str,
    values: list[Any],
    parameters: Mapping[str, Sequence[str]],
    where: str,
) -> None:
    """Set a parameter, or the rounds, of the comparisons that a key means."""
    scope, _, name = key.rpartition(".")
    if scope and scope not in parameters:
        hint = nearest(scope, (*parameters, *TABLES))
        raise InputError(f"{where}: {key}: no comparison {scope!r}{hint}")
    chosen = [item for item in comparisons if scope in ("", item["name"])]
    own = ("rounds", "twins") if scope else ()
    if name == "twins" and not scope:
        raise InputError(f"{where}: {key}: name a comparison, as in {next(iter(parameters))}.twins")
    having = [item for item in chosen if name in (*parameters[item["name"]], *own)]
    if not having:
        known = {*own, *(known for item in chosen for known in parameters[item["name"]])}
        known |= set() if scope else {*SCALARS, *LISTS, *TABLES}
        raise InputError(f"{where}: {key}: no comparison has {name!r}{nearest(name, known)}")
    for item in having:
        if name == "rounds":
            _require_one(key, values, where)
            item["rounds"] = values[0]
        elif name == "twins":
            item["twins"] = values
        else:
            item["params"] = {**item["params"], name: values}
            if name == (item["contender"] or parameters[item["name"]][0]):
                # A twin of a contender that is left out now.
                item["twins"] = [twin for twin in item["twins"] if twin in values]


def _require_one(key: str, values: Sequence[Any], where: str) -> None:
    if len(values) != 1:
        raise InputError(f"{where}: {key}: expected one value, found {len(values)}")


def _value(text: str) -> Any:
    try:
        return toml_reader.loads(f"value = {text}")["value"]
    except toml_reader.TOMLDecodeError:
        return text
