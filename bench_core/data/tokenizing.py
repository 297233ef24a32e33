"""Texts as token ids of one length: tokenizers that are trained here, or brought by the user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench_core.data.cached import cached
from bench_core.data.errors import DataError
from bench_core.data.identity import digest_of
from bench_core.errors import CorruptFileError
from bench_core.optional import require

_PAD, _UNKNOWN, _START, _END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
_SPECIAL: Final = (_PAD, _UNKNOWN, _START, _END, "[MASK]")
_NO_LIMIT: Final = 2**31
_SWITCH: Final = "TOKENIZERS_PARALLELISM"


def trained_tokenizer(texts: Sequence[str], vocabulary: int, cache: Path | None) -> Any:
    """Return a tokenizer, lower case, trained on texts: the same for the same texts.

    Its pieces come from byte-pair encoding (Sennrich et al., ACL 2016). Not from WordPiece, whose
    training breaks ties by the order of a hash table: it ends differently in every process. Texts
    become ``[CLS] text [SEP]``, as in Devlin et al., "BERT", NAACL 2019, section 3.

    Args:
        texts: what it learns its pieces from.
        vocabulary: how many pieces at most, special ones included; ids are below it.
        cache: folder where it is kept, named by texts, size and library; None: nowhere.

    Raises:
        DataError: the vocabulary has no room for the texts' characters.
        SaveError: the cache cannot be written.
    """
    library = require("tokenizers", "search")
    key = digest_of({"texts": list(texts), "size": vocabulary, "library": library.__version__})
    return cached(
        None if cache is None else cache / f"tokenizer-{key}.json",
        make=lambda: _trained(library, texts, vocabulary),
        read=_read,
        write=lambda tokenizer, path: tokenizer.save(str(path)),
    )


def given_tokenizer(path: Path) -> Any:
    """Return a user's tokenizer.

    Args:
        path: a ``tokenizer.json``, or a ``vocab.txt`` of WordPiece (taken as lower case), or a
            folder with one of them.

    Raises:
        DataError: there is none.
        CorruptFileError: it cannot be read.
    """
    file = path
    if path.is_dir():
        found = [path / name for name in ("tokenizer.json", "vocab.txt")]
        file = next((candidate for candidate in found if candidate.is_file()), path)
    if not file.is_file():
        raise DataError(f"{path}: no tokenizer; expected tokenizer.json or vocab.txt there")
    if file.suffix == ".json":
        return _read(file)
    implementations = require("tokenizers.implementations", "search")
    tokenizer = implementations.BertWordPieceTokenizer(str(file), lowercase=True)
    return require("tokenizers", "search").Tokenizer.from_str(tokenizer.to_str())


def encode(tokenizer: Any, texts: Sequence[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids ``(n, length)`` int32 and mask ``(n, length)`` bool, truncated and padded.

    Raises:
        DataError: a length below 3 leaves no room for a token between start and end.
    """
    if length < 3:
        raise DataError(f"texts of {length} tokens, expected 3 or more")
    tokenizer.enable_truncation(length)
    tokenizer.no_padding()
    ids = np.full((len(texts), length), _pad_id(tokenizer), np.int32)
    mask = np.zeros((len(texts), length), bool)
    with _without_threads():
        for row, encoding in enumerate(tokenizer.encode_batch(list(texts))):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = True
    return torch.from_numpy(ids), torch.from_numpy(mask)


def _pad_id(tokenizer: Any) -> int:
    """Return the id that fills up; the mask hides it, so 0 does where none is set aside."""
    for name in (_PAD, "<pad>"):
        found = tokenizer.token_to_id(name)
        if found is not None:
            return int(found)
    return 0


def _trained(library: Any, texts: Sequence[str], vocabulary: int) -> Any:
    tokenizer = library.Tokenizer(library.models.BPE(unk_token=_UNKNOWN))
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(_SPECIAL),
        # The library would choose among equally rare characters by chance.
        limit_alphabet=_NO_LIMIT,
        show_progress=False,
    )
    with _without_threads():
        tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() > vocabulary:
        raise DataError(
            f"a vocabulary of {vocabulary}, expected {tokenizer.get_vocab_size()} or more: the "
            "texts' characters and the special tokens"
        )
    tokenizer.post_processor = library.processors.TemplateProcessing(
        single=f"{_START} $A {_END}",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in (_START, _END)],
    )
    return tokenizer


def _read(path: Path) -> Any:
    library = require("tokenizers", "search")
    try:
        return library.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise CorruptFileError(f"{path}: no tokenizer that can be read ({error})") from error


@contextlib.contextmanager
def _without_threads() -> Iterator[None]:
    """Keep the library from using threads, after which it complains in every forked process.

    A user who has set the switch has decided.
    """
    if _SWITCH in os.environ:
        yield
        return
    os.environ[_SWITCH] = "false"
    try:
        yield
    finally:
        os.environ.pop(_SWITCH, None)
