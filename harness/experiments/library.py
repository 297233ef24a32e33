"""Finds sections by name in the files of experiments, and resolves what they inherit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeGuard

from harness import toml_reader
from harness.errors import InputError, nearest
from harness.experiments.sections import RESOLVED, Section, parse

EMBEDDED: Final = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A section's table as it stands in its file."""

    name: str
    path: Path
    table: Mapping[str, Any]
    is_embedded: bool

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self.path.name if self.is_embedded else self.path}: [{self.name}]"


def entries(file: Path | None = None) -> dict[str, Entry]:
    """Return all sections by name: the embedded ones, and those of a user's file.

    A user's section takes the place of an embedded one of its name, and may extend any of them.

    Raises:
        InputError: a file is missing or no TOML, or two embedded sections have one name.
    """
    found: dict[str, Entry] = {}
    for path in sorted(EMBEDDED.glob("*.toml")):
        for name, table in _tables(path).items():
            if name in found:
                raise InputError(f"[{name}] stands in {found[name].path.name} and in {path.name}")
            found[name] = Entry(name, path, table, is_embedded=True)
    if file is not None:
        found |= {name: Entry(name, file, table, False) for name, table in _tables(file).items()}
    return found


def names(file: Path | None = None) -> list[str]:
    """Return the names of a file's sections, or of the embedded ones."""
    return [entry.name for entry in entries(file).values() if (file is None) == entry.is_embedded]


def load(name: str, file: Path | None = None) -> Section:
    """Read a section with all that it inherits.

    Raises:
        InputError: there is no such section, or something in it is wrong; the text names the
            file, the section, the key and the nearest valid name.
    """
    known = entries(file)
    entry = _entry(name, known, "" if file is None else f"{file}: ")
    return parse(_resolved(entry, known, ()), entry.where)


def where(name: str, file: Path | None = None) -> str:
    """Return how messages name a section: with its file.

    Raises:
        InputError: there is no such section.
    """
    return _entry(name, entries(file), "").where


def _entry(name: str, known: Mapping[str, Entry], where: str) -> Entry:
    if name not in known:
        raise InputError(
            f"{where}there is no section {name!r}; expected one of {', '.join(known)}"
            f"{nearest(name, known)}"
        )
    return known[name]


def _resolved(entry: Entry, known: Mapping[str, Entry], heirs: tuple[str, ...]) -> dict[str, Any]:
    """Return a section's content: its parents' in order, then its own on top."""
    if entry.name in heirs:
        chain = " → ".join((*heirs[heirs.index(entry.name) :], entry.name))
        raise InputError(f"{entry.where}: extends itself: {chain}")
    content: dict[str, Any] = {}
    for parent in _listed(entry, "extends"):
        found = _entry(parent, known, f"{entry.where}: extends: ")
        content = _merged(content, _resolved(found, known, (*heirs, entry.name)))
    chosen = _listed(entry, "only")
    if chosen:
        content = _only(content, chosen, entry.where)
    own = {key: value for key, value in entry.table.items() if key not in RESOLVED}
    _require_distinct(own, entry.where)
    return _merged(content, own)


def _listed(entry: Entry, key: str) -> list[str]:
    value = entry.table.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise InputError(f"{entry.where}: {key} = {value!r}: expected a name or a list of names")
    return values


def _only(content: Mapping[str, Any], chosen: Sequence[str], where: str) -> dict[str, Any]:
    """Return what is inherited, without all that belongs to comparisons that were not chosen."""
    comparisons = content.get("comparisons")
    known = {item["name"]: item for item in comparisons} if _is_named(comparisons) else {}
    for name in chosen:
        if name not in known:
            raise InputError(
                f"{where}: only: no comparison {name!r} is inherited{nearest(name, known)}"
            )
    kept = {name: item for name, item in known.items() if name in chosen}
    gone = {item.get("benchmark") for item in known.values()}
    gone -= {item.get("benchmark") for item in kept.values()}
    found = {**content, "comparisons": list(kept.values())}
    if _is_named(figures := content.get("figures")):
        found["figures"] = [item for item in figures if item.get("benchmark") not in gone]
    for table in ("set", "test"):
        if isinstance(content.get(table), dict):
            found[table] = {
                key: value
                for key, value in content[table].items()
                if (scope := key.partition(".")[0]) not in known or scope in kept
            }
    return found


def _require_distinct(table: Mapping[str, Any], where: str) -> None:
    """Raise where a name stands twice: merging by name would lose one of the two."""
    for key in ("comparisons", "figures"):
        items = table.get(key)
        names = [item["name"] for item in items] if _is_named(items) else []
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"{where}: two {key} are called {twice[0]!r}")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return one table over another: inner tables and lists of named tables are merged, too.

    An empty list takes the place of whatever is below it.
    """
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merged(old, value)
        elif _is_named(old) and _is_named(value):
            merged[key] = _merged_by_name(old, value)
        else:
            merged[key] = value
    return merged


def _is_named(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    """Tell whether a value is a list of tables that have names."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, dict) and isinstance(v.get("name"), str) for v in value)
    )


def _merged_by_name(
    below: Sequence[Mapping[str, Any]], above: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    merged = {item["name"]: dict(item) for item in below}
    for item in above:
        merged[item["name"]] = _merged(merged.get(item["name"], {}), item)
    return list(merged.values())


def _tables(path: Path) -> dict[str, dict[str, Any]]:
    """Return the sections of a file."""
    try:
        content: dict[str, Any] = toml_reader.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (toml_reader.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no valid TOML: {error}") from error
    strays = [key for key, value in content.items() if not isinstance(value, dict)]
    if strays:
        raise InputError(f"{path}: key {strays[0]!r} stands outside of any section")
    return content
