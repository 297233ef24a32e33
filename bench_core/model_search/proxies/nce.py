"""NCE: how much is left open of the labels when the model's own classes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch.nn.functional import one_hot

from bench_core.model_search.proxies.base import Features, Proxy, Score, Task
from bench_core.model_search.proxies.source_labels import label_given_source, source_logits


@dataclass(frozen=True)
class NegativeConditionalEntropy(Proxy):
    """Minus the entropy of the labels given the source classes, in nats, at most 0.

    Tran, Nguyen and Hassner, "Transferability and hardness of supervised classification tasks",
    ICCV 2019: the sum of P(y, z) log P(y | z) over labels y and source classes z, with the shares
    of the items as probabilities. The source class of an item is the one that the model's own
    classifier finds most likely, as in the comparison of Nguyen et al. (LEEP, ICML 2020). It uses
    the train items alone: nothing is held out.
    """

    name: ClassVar[str] = "nce"
    needs_source: ClassVar[bool] = True
    compares_classes: ClassVar[bool] = True

    def score_one(self, features: Features, task: Task, seed: int) -> Score:
        """Return minus the conditional entropy of the train labels."""
        logits = source_logits(features)
        source = one_hot(logits.argmax(1), logits.shape[1]).double()
        shares = label_given_source(task.train_labels, source)
        return Score(float((shares * source).sum(1).log().mean()), None, 1)
