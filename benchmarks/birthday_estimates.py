"""The longest common prefix that closed forms predict, against the one that an index finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.support.prefix_populations import filled_index, matrix_names, named_chain
from harness.benchmark import Benchmark
from harness.errors import WrongResultError

if TYPE_CHECKING:
    from bench_core.weight_transfer.birthday import Trials
    from bench_core.weight_transfer.spaces.base import Archs, SearchSpace

POPULATIONS: Final = 30
"""Of one sample: queries to one population are not independent, so the spread is theirs."""
QUERIES: Final = 50
"""Of each population."""
TOURNAMENT: Final = 10
MOST_Z: Final = 5.0
"""Standard errors that right answers stay below but once in some ten thousand samples."""


class PrefixBenchmark(Benchmark):
    """Base of the workloads over populations of chains with as many choices at each position."""

    timeout = 1200

    def prepare_space(self, choices: int, n_models: int, length: int) -> None:
        """Make the search space, the random numbers and the estimate."""
        import numpy as np

        from bench_core.weight_transfer import birthday, spaces

        self.space: SearchSpace = spaces.get(
            "feed-forward", layers=length, widths=tuple(range(1, choices))
        )
        self.n_models = n_models
        self.random = np.random.default_rng([self.seed, choices, n_models, length])
        self.predicted = birthday.estimate(self.space.choices, n_models).layers
        self.longest: list[tuple[Archs, Archs, list[int]]] = []

    def ask(self, models: Archs, children: Archs) -> float:
        """Return the mean longest prefix of children in common with a model, by the index."""
        from bench_core.weight_transfer.prefix_names import prefix_names

        index = filled_index(matrix_names(prefix_names(models)))
        asked = map(named_chain, matrix_names(prefix_names(children)))
        found = [0 if match is None else match.score for match in map(index.best, asked)]
        self.longest.append((models, children, found))
        return sum(found) / len(found)

    def check_lengths(self) -> None:
        """Compare what the index found in the first population with the choices themselves.

        Raises:
            WrongResultError: a prefix has another length.
        """
        models, children, found = self.longest[0]
        for child, length in zip(children, found, strict=True):
            same = (models == child).cumprod(axis=1).sum(axis=1).max()
            if same != length:
                raise WrongResultError(f"a prefix of {length} was found, {same} choices agree")

    def note_trials(self, trials: Trials) -> None:
        """Note what was measured and predicted."""
        self.note(
            measured=trials.mean, predicted=self.predicted, standard_error=trials.standard_error
        )


class RandomPopulation(PrefixBenchmark):
    """How many standard errors the measured mean prefix of random queries lies off the estimate.

    Nothing is timed. 30 random populations of ``n_models`` are put in an index each, and the
    longest prefix of 50 random architectures is looked for; the standard error is that of the
    populations' means. The estimate is `birthday.estimate`. What is checked: no more than 5, and
    that the prefixes are as long as the choices say.
    """

    params = ((2, 4, 11), (300, 1_000), (15,))
    param_names = ("choices", "n_models", "length")
    unit = "standard errors"

    def prepare(self, choices: int, n_models: int, length: int) -> None:
        self.prepare_space(choices, n_models, length)

    def track_z(self, choices: int, n_models: int, length: int) -> float:
        from bench_core.weight_transfer.birthday import Trials

        self.trials = Trials.of([self.one_mean() for _ in range(POPULATIONS)])
        return abs(self.trials.z(self.predicted))

    def one_mean(self) -> float:
        """Return the mean prefix of random queries to a random population."""
        models = self.space.random(self.n_models, self.random)
        return self.ask(models, self.space.random(QUERIES, self.random))

    def verify(self) -> None:
        self.check_lengths()
        self.note_trials(self.trials)
        if self.result > MOST_Z:
            raise WrongResultError(
                f"{self.trials.mean:.3f} layers in common, {self.predicted:.3f} predicted: "
                f"{self.result:.1f} standard errors apart"
            )


class EvolvedPopulation(PrefixBenchmark):
    """The measured mean prefix of children in an evolved population over that of random models.

    Nothing is timed. In each of ``generations`` every model is replaced by a child, which differs
    in one choice, of the fittest of 10 drawn at random; fit is what has choices of a high value,
    values being random. Then children of any of the last generation are looked for in it. The
    estimate is that for as many random models (`birthday.estimate`), which relatives exceed; the
    ratio over `birthday.child`, where the parent is the only relative, is in the extra. What is
    checked: the prefixes are as long as the choices say, and without a generation the children have
    what `birthday.child` predicts, within 5 standard errors.
    """

    params = ((2, 4, 11), (300, 1_000), (15,), (0, 1, 10, 100))
    param_names = ("choices", "n_models", "length", "generations")
    quick = {"generations": (10,)}
    unit = "times"

    def prepare(self, choices: int, n_models: int, length: int, generations: int) -> None:
        from bench_core.weight_transfer import birthday

        self.prepare_space(choices, n_models, length)
        self.generations = generations
        self.predicted_child = birthday.child(self.space.choices, n_models)

    def track_ratio(self, choices: int, n_models: int, length: int, generations: int) -> float:
        from bench_core.weight_transfer.birthday import Trials

        self.trials = Trials.of([self.one_mean() for _ in range(POPULATIONS)])
        return self.trials.ratio(self.predicted)

    def one_mean(self) -> float:
        """Return the mean prefix of children of an evolved population."""
        from bench_core.weight_transfer.mutation import mutate

        models = self.space.random(self.n_models, self.random)
        values = self.random.normal(size=(models.shape[1], max(self.space.choices)))
        positions = range(models.shape[1])
        for _ in range(self.generations):
            fitness = values[positions, models].sum(axis=1)
            drawn = self.random.integers(self.n_models, size=(self.n_models, TOURNAMENT))
            fittest = drawn[range(self.n_models), fitness[drawn].argmax(axis=1)]
            models = mutate(self.space, models[fittest], self.random)
        parents = models[self.random.integers(self.n_models, size=QUERIES)]
        return self.ask(models, mutate(self.space, parents, self.random))

    def verify(self) -> None:
        self.check_lengths()
        self.note_trials(self.trials)
        self.note(
            predicted_child=self.predicted_child,
            ratio_over_child=self.trials.ratio(self.predicted_child),
        )
        z = self.trials.z(self.predicted_child)
        if not self.generations and abs(z) > MOST_Z:
            raise WrongResultError(
                f"{self.trials.mean:.3f} layers in common, {self.predicted_child:.3f} predicted: "
                f"{z:.1f} standard errors apart"
            )
