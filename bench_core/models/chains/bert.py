"""BERT (Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", NAACL 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import torch
from torch import nn

from bench_core.errors import UnsupportedError
from bench_core.models.chains.cutting import Places, cut
from bench_core.models.chains.family import Family, SplitState
from bench_core.models.chains.spec import BlockSpec, ChainSpec, InputSpec
from bench_core.models.chains.transformer import block_configuration, block_spec, check_layers

Tokens = tuple[torch.Tensor, torch.Tensor]
"""Hidden states ``(batch, length, hidden_size)``, or token ids; the mask ``(batch, length)``."""

_EMBEDDINGS: Final = (
    "hidden_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "pad_token_id",
    "type_vocab_size",
    "vocab_size",
)
_LAYER: Final = (
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "num_attention_heads",
)


class Embeddings(nn.Module):
    """Words, positions and the first token type, as ``BertEmbeddings`` adds them up.

    Without its buffers, which stand in no state dict.
    """

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        size = spec["hidden_size"]
        self.word_embeddings = nn.Embedding(spec["vocab_size"], size, spec["pad_token_id"])
        self.position_embeddings = nn.Embedding(spec["max_position_embeddings"], size)
        self.token_type_embeddings = nn.Embedding(spec["type_vocab_size"], size)
        self.LayerNorm = nn.LayerNorm(size, eps=spec["layer_norm_eps"])

    def forward(self, tokens: Tokens) -> Tokens:
        """Return hidden states and mask for token ids and mask.

        Raises:
            UnsupportedError: a text is longer than there are positions.
        """
        ids, mask = tokens
        # On a GPU the look-up itself would end the process' use of the device.
        if ids.shape[1] > self.position_embeddings.num_embeddings:
            raise UnsupportedError(
                f"texts of {ids.shape[1]} tokens, the model has positions for "
                f"{self.position_embeddings.num_embeddings}; cut them"
            )
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        words = self.word_embeddings(ids)
        types = self.token_type_embeddings(torch.zeros_like(ids))
        hidden = words + types + self.position_embeddings(positions)
        return self.LayerNorm(hidden), mask.bool()


class Layer(nn.Module):
    """A ``BertLayer`` that takes the mask along."""

    def __init__(self, configuration: Any) -> None:
        from transformers.models.bert import modeling_bert

        super().__init__()
        self.configuration = configuration
        build: Any = modeling_bert.BertLayer
        self.layer = build(configuration)

    def forward(self, tokens: Tokens) -> Tokens:
        """Return hidden states and mask."""
        from transformers.masking_utils import create_bidirectional_mask

        hidden, mask = tokens
        # Of each layer anew: what is carried along is a byte a token, not a row a token.
        attention = create_bidirectional_mask(
            config=self.configuration, inputs_embeds=hidden, attention_mask=mask
        )
        return self.layer(hidden, attention), mask


class Pooler(nn.Module):
    """A dense layer and a tangent over the hidden state of the class token."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)

    def forward(self, tokens: Tokens) -> torch.Tensor:
        """Return ``(batch, hidden_size)``."""
        return torch.tanh(self.dense(tokens[0][:, 0]))


class Bert(Family):
    """Embeddings, layers, and the pooler, whose output are the features.

    The implementation published with Strassenburg et al., "Alsatian", SIGMOD 2025, reads the hidden
    state of the class token instead, so that re-training the pooler alone changes nothing there.
    """

    name = "bert"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "bert_base": {},
        "bert_tiny": {
            "vocab_size": 2000,
            "hidden_size": 48,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "intermediate_size": 96,
            "max_position_embeddings": 128,
        },
    }

    def configuration(self, **settings: Any) -> Any:
        """Return transformers' ``BertConfig``."""
        from transformers import BertConfig

        return BertConfig(**settings)

    def chain(self, configuration: Any, architecture: str) -> ChainSpec:
        """Return the chain; the pooler is the last block that is re-trained, then the last layer.

        As published, no cut re-trains the first layer.

        Raises:
            UnsupportedError: a decoder, one with cross attention, positions that are not added to
                the words, layers that the library cannot build.
        """
        check_layers(configuration, architecture)
        if configuration.is_decoder or configuration.add_cross_attention:
            raise UnsupportedError(f"{architecture}: a decoder, only encoders are supported")
        # Configurations of today have no such setting, older ones state it.
        positions = getattr(configuration, "position_embedding_type", "absolute")
        if positions != "absolute":
            raise UnsupportedError(
                f"{architecture}: position_embedding_type {positions!r}, expected 'absolute'"
            )
        n_layers = configuration.num_hidden_layers
        embeddings = block_spec("bert.embeddings", configuration, _EMBEDDINGS)
        layer = block_spec("bert.layer", configuration, _LAYER)
        pooler = block_spec("bert.pooler", configuration, ("hidden_size",))
        return ChainSpec(
            architecture=architecture,
            blocks=(embeddings, *[layer] * n_layers, pooler),
            input=InputSpec("tokens", (None,)),
            feature_dim=configuration.hidden_size,
            cuts=tuple(range(n_layers + 2, 1, -1)),
        )

    def module(self, spec: BlockSpec) -> nn.Module:
        """Return the block's module."""
        if spec.kind == "bert.embeddings":
            return Embeddings(spec)
        if spec.kind == "bert.pooler":
            return Pooler(spec["hidden_size"])
        return Layer(block_configuration(self, spec))

    def vocabulary(self, spec: BlockSpec) -> int | None:
        """Return the number of words that the embeddings have a row for."""
        return int(spec["vocab_size"]) if spec.kind == "bert.embeddings" else None

    def initialise(self, module: nn.Module) -> None:
        """Initialise as the library does: normal values of deviation 0.02, norms of 1."""
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.Embedding):
                nn.init.normal_(layer.weight, std=0.02)
                if layer.padding_idx is not None:
                    nn.init.zeros_(layer.weight[layer.padding_idx])
            elif isinstance(layer, nn.LayerNorm):
                layer.reset_parameters()

    def split(self, configuration: Any, state: Mapping[str, torch.Tensor]) -> SplitState:
        """Cut the state dict of ``BertModel`` or ``BertForSequenceClassification``."""
        layers = range(configuration.num_hidden_layers)
        places: list[Places] = [{"": "embeddings."}]
        places += [{"layer.": f"encoder.layer.{index}."} for index in layers]
        places.append({"": "pooler."})
        chain = self.chain(configuration, self.name)
        return cut(chain, places, state, prefix="bert.", head="classifier")

    def reference(self, configuration: Any) -> nn.Module:
        """Return ``BertModel``."""
        from transformers import BertModel

        model: nn.Module = BertModel(configuration)
        return model.eval()

    def reference_features(self, model: nn.Module, inputs: Any) -> torch.Tensor:
        """Return the pooled output for token ids and mask."""
        ids, mask = inputs
        features: torch.Tensor = model(ids, attention_mask=mask).pooler_output
        return features
