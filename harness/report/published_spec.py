"""How published figures are described: ``figures.toml`` beside the CSV files that they draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from harness import toml_reader
from harness.errors import InputError, nearest
from harness.figure_spec import FigureSpec

DESCRIPTION: Final = "figures.toml"
"""The file that makes a folder a set of published figures."""

Text = Annotated[StrictStr, Field(min_length=1)]
Columns = Annotated[list[Text], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paper(_Strict):
    """Where all figures of a folder were published."""

    short: Text
    """What its system is called."""
    title: Text
    authors: Text
    venue: Text
    doi: Text
    cpu: Text
    """What it was measured on, as `device`."""
    device: StrictStr = ""

    @property
    def citation(self) -> str:
        """The paper in one line."""
        return f"{self.authors}: {self.title}. {self.venue}, doi {self.doi}"


class Phases(_Strict):
    """Where a CSV file has the parts of a bar, a row for each part."""

    name: Text
    """Column with the name of the part."""
    seconds: Text
    """Column with its seconds."""


class PublishedFigure(_Strict):
    """One figure: which rows of which file it shows, and how it is drawn."""

    file: Text
    """CSV file beside the description."""
    where: dict[StrictStr, Columns] = Field(default_factory=dict)
    """Column to the texts of which a row must have one; other rows are left out."""
    parameters: Columns
    """Columns that are parameters of the rows; every combination occurs once."""
    joined: dict[Text, Columns] = Field(default_factory=dict)
    """A parameter to the columns whose texts, with a space between, are its value."""
    value: Text
    """Column with the number that was published; of a bar with phases, with their sum."""
    unit: Text
    """Of the value, such as ``seconds``."""
    phases: Phases | None = None
    caption: Text
    """Which figure of the paper it is, and what its numbers are: medians, single runs, …"""
    spec: FigureSpec
    """How to draw it; its labels come before those that all figures share."""

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that each key of the description names."""
        own = {"where": list(self.where), "parameters": self.parameters, "value": [self.value]}
        own |= {f"joined.{name}": names for name, names in self.joined.items()}
        phases = {} if self.phases is None else self.phases.model_dump()
        return own | {f"phases.{key}": [name] for key, name in phases.items()}


class PublishedSet(_Strict):
    """The figures of one paper."""

    paper: Paper
    labels: dict[str, StrictStr] = Field(default_factory=dict)
    """What all figures call parameters, values and phases."""
    figures: Annotated[list[PublishedFigure], Field(min_length=1)]

    @field_validator("figures")
    @classmethod
    def _are_distinct(cls, figures: list[PublishedFigure]) -> list[PublishedFigure]:
        names = [figure.spec.name for figure in figures]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"two are called {twice[0]!r}")
        return figures

    def drawn(self, figure: PublishedFigure) -> FigureSpec:
        """Return how a figure is drawn, with the labels that all share behind its own."""
        spec = figure.spec
        shared = {word: text for word, text in self.labels.items() if word not in spec.labels}
        return spec.model_copy(update={"labels": {**spec.labels, **shared}})


def read_set(folder: Path) -> PublishedSet:
    """Read the description of a folder's figures.

    Raises:
        InputError: it cannot be read, or something in it is wrong; the text names the file, the
            key and the nearest valid name.
    """
    path = folder / DESCRIPTION
    try:
        content = toml_reader.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (toml_reader.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no valid TOML: {error}") from error
    try:
        return PublishedSet.model_validate(content)
    except ValidationError as error:
        # A misspelt key is also a missing one; what is misspelt is what the user has to know.
        found = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        raise InputError(f"{path}: {_one_line(found, content)}") from None


_LEVELS: Final[Mapping[tuple[str, ...], type[BaseModel]]] = {
    (): PublishedSet,
    ("paper",): Paper,
    ("figures",): PublishedFigure,
    ("figures", "spec"): FigureSpec,
    ("figures", "phases"): Phases,
}
"""What may stand in each table of the description."""


def _one_line(error: ErrorDetails, content: Mapping[str, Any]) -> str:
    location = error["loc"]
    key = _dotted(location, content)
    if error["type"] == "extra_forbidden":
        level = tuple(part for part in location[:-1] if isinstance(part, str))
        known = _LEVELS[level].model_fields
        return f"unknown key {key!r}{nearest(str(location[-1]), known)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    found = error["input"]
    shown = f" = {found!r}" if isinstance(found, str | int | float) else ""
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}{shown}: {message[0].lower()}{message[1:]}"


def _dotted(location: tuple[int | str, ...], content: Mapping[str, Any]) -> str:
    """Return ``figures.fig10.value`` for where in the content an error lies."""
    parts = list(map(str, location))
    if len(location) > 1 and location[0] == "figures" and isinstance(location[1], int):
        figure = content["figures"][location[1]]
        spec = figure.get("spec") if isinstance(figure, dict) else None
        parts[1] = str(spec.get("name", parts[1])) if isinstance(spec, dict) else parts[1]
    return ".".join(parts)
