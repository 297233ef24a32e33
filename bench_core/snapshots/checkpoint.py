"""The state of a training that is under way, so that it goes on where it was stopped."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench_core.formats.atomic import write_atomically
from bench_core.formats.base import Durability


@dataclass(frozen=True)
class Checkpoint:
    """A file that holds the state of one training, and of no other."""

    path: Path
    plan: Mapping[str, Any]
    """What decides the result of the training; a state of another plan is not taken up."""

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last, or None where there is none of this plan.

        Nothing of a file that can be executed is: it is read with ``weights_only``.
        """
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return None
        if not isinstance(content, dict) or content.get("plan") != self._plan_text():
            return None
        state: dict[str, Any] = content["state"]
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Put the state in the place of the one before, whole or not at all.

        Raises:
            SaveError: it can't be written; the state before is untouched, unless the text says that
                the new one was written and is not known to be durable.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"plan": self._plan_text(), "state": dict(state)}
        write_atomically(
            self.path,
            Durability.FSYNC,
            lambda temporary: torch.save(content, temporary),
            bytes_logical=0,
            library_errors=(RuntimeError,),
        )

    def remove(self) -> None:
        """Forget the state: the training is done."""
        self.path.unlink(missing_ok=True)

    def _plan_text(self) -> str:
        return json.dumps(self.plan, sort_keys=True)
