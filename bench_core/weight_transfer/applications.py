"""Named searches: a space, the task that its architectures learn, and how they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bench_core.errors import UnknownNameError, nearest
from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.spaces.base import SearchSpace
from bench_core.weight_transfer.tasks import TaskRecipe
from bench_core.weight_transfer.training import TrainingPlan

_RATE: Final = 5e-3
"""For small networks and one epoch. At Adam's usual 0.001 a digits network has learnt so little in
an epoch that its frozen layers hold a child back."""


@dataclass(frozen=True)
class Application:
    """What a search is about."""

    space: SearchSpace
    task: TaskRecipe
    plan: TrainingPlan


def names() -> tuple[str, ...]:
    """Return the names of the applications."""
    return tuple(_APPLICATIONS)


def get(name: str) -> Application:
    """Return an application.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if name not in _APPLICATIONS:
        raise UnknownNameError(
            f"no application {name!r}, expected one of {', '.join(_APPLICATIONS)}"
            f"{nearest(name, _APPLICATIONS)}"
        )
    return _APPLICATIONS[name]()


def _toy_regression() -> Application:
    """One layer over generated values, as the artifact's smallest search: seconds for all of it."""
    space = spaces.get("feed-forward", inputs=10, outputs=1, layers=1)
    few = {"n_train": 1_000, "n_validation": 250}
    task = TaskRecipe.of("generated", shapes=((10,),), outputs=1, kind="regression", **few)
    plan = TrainingPlan(epochs=10, batch_size=100, learning_rate=0.1, patience=5)
    return Application(space, task, plan)


def _digits() -> Application:
    space = spaces.get("dense-skip", inputs=64, outputs=10)
    return Application(space, TaskRecipe.of("digits"), TrainingPlan(learning_rate=_RATE))


def _digits_nt3() -> Application:
    space = spaces.get(
        "nt3-small",
        inputs=64,
        outputs=10,
        filters=(8, 16, 24, 32),
        kernels=(3, 5),
        pools=(2, 3, 4, 5),
        widths=(32, 64, 96),
        last_widths=(16, 24, 32, 40, 48),
    )
    task = TaskRecipe.of("digits", as_sequence=True)
    return Application(space, task, TrainingPlan(learning_rate=_RATE))


def _nt3() -> Application:
    plan = TrainingPlan(batch_size=20)
    return Application(spaces.get("nt3-small"), TaskRecipe.of("nt3"), plan)


def _nt3_large() -> Application:
    plan = TrainingPlan(batch_size=20)
    return Application(spaces.get("nt3-large"), TaskRecipe.of("nt3"), plan)


def _nt3_short() -> Application:
    """NT3 over a hundredth of the profile, for two cores."""
    space = spaces.get(
        "nt3-small", inputs=604, filters=(8, 16, 24, 32), widths=(25, 50, 75), kernels=(10, 20)
    )
    task = TaskRecipe.of("nt3", inputs=[604])
    return Application(space, task, TrainingPlan(batch_size=20, learning_rate=_RATE))


def _attn() -> Application:
    space = spaces.get("attn", inputs=(942, 5_270), outputs=2)
    return Application(space, TaskRecipe.of("attn"), TrainingPlan())


def _attn_large() -> Application:
    space = spaces.get("attn-large", inputs=(942, 5_270), outputs=2)
    return Application(space, TaskRecipe.of("attn"), TrainingPlan())


def _attn_narrow() -> Application:
    """ATTN with inputs and widths of a tenth, for two cores."""
    widths = tuple(range(5, 198, 5))
    space = spaces.get("attn", inputs=(94, 527), outputs=2, widths=widths)
    task = TaskRecipe.of("attn", inputs=[94, 527], n_train=2_000, n_validation=500)
    return Application(space, task, TrainingPlan(learning_rate=_RATE))


def _uno() -> Application:
    space = spaces.get("attn", inputs=(1, 942, 5_270), outputs=1)
    return Application(space, TaskRecipe.of("uno"), TrainingPlan())


def _combo() -> Application:
    space = spaces.get("attn", inputs=(942, 3_820, 3_820), outputs=1)
    return Application(space, TaskRecipe.of("combo"), TrainingPlan())


_APPLICATIONS: Final[Mapping[str, Callable[[], Application]]] = MappingProxyType(
    {
        "toy_regression": _toy_regression,
        "digits": _digits,
        "digits_nt3": _digits_nt3,
        "nt3": _nt3,
        "nt3_large": _nt3_large,
        "nt3_short": _nt3_short,
        "attn": _attn,
        "attn_large": _attn_large,
        "attn_narrow": _attn_narrow,
        "uno": _uno,
        "combo": _combo,
    }
)
