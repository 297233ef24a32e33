"""The content-addressed store: each distinct block once, a manifest for each model.

Layout of its folder: ``blocks/<first two digits>/<key>.safetensors`` and ``models/<name>.json``.
Blocks are written and durable before the manifest that names them appears, in one step: a store
whose writer was killed holds the models that it held before, and maybe blocks that no model uses,
which `bench_core.snapshots.gc` removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bench_core.errors import BenchCoreError, UnknownNameError
from bench_core.models.chains import BlockSpec, ChainSpec
from bench_core.snapshots.blocks import BlockDamage, Blocks
from bench_core.snapshots.errors import CorruptBlockError
from bench_core.snapshots.exports import is_exported, write_export
from bench_core.snapshots.folders import make_folder, sync_folders
from bench_core.snapshots.locks import locked
from bench_core.snapshots.manifest import BlockRef, Snapshot
from bench_core.snapshots.manifests import Manifests, check_name
from bench_core.snapshots.parts import Part, parts_of, refs_of
from bench_core.snapshots.sizes import all_blocks

__all__ = ["Part", "SnapshotStore"]


class SnapshotStore:
    """Models in a folder. Any number of processes may read and write it at once.

    Example:
        >>> import tempfile, torch
        >>> from bench_core.models.chains import chain, initialised
        >>> spec = chain("mlp_tiny")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = SnapshotStore(Path(folder))
        ...     model = store.add("first", spec, [initialised(b, 0) for b in spec.blocks])
        ...     copy = store.add("second", spec, model.blocks)
        ...     store.names(), copy.blocks == model.blocks
        (['first', 'second'], True)
    """

    def __init__(self, folder: Path) -> None:
        """Look at a folder, which need not be there yet; nothing is read or made."""
        self.folder = folder
        self.blocks = Blocks(folder / "blocks")
        self.manifests = Manifests(folder / "models")
        self.blocks_lock = folder / ".blocks.lock"
        """Shared by those who add blocks, until the manifest is there that names them."""
        self._models_lock = folder / ".models.lock"

    def add(
        self,
        name: str,
        chain: ChainSpec,
        tensors: Sequence[Part],
        *,
        head: tuple[torch.Tensor, torch.Tensor] | None = None,
        origin: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> Snapshot:
        """Store a model, durable when this returns; blocks that are there are not written again.

        The very same model again is no work, apart from blocks that were lost since.

        Args:
            name: of the model; see `check_name`.
            chain: its architecture.
            tensors: for each block of the chain its tensors by their names within the block. A
                block that the store has can be given as it is: it is neither read nor digested.
            head: weight ``(classes, feature_dim)`` and bias ``(classes,)`` of its classifier.
            origin: where it comes from, as JSON.
            replace: put it in the place of another model of this name; also read the blocks that
                are there already, and write those anew that are damaged.

        Raises:
            ModelNameError: no model can have this name.
            ModelExistsError: the store has another model of this name.
            TensorMismatchError: these are not the blocks of the chain.
            CorruptBlockError: a block that was given as stored is not in the store.
            SaveError: the disk is full or can't be written; no model has changed, unless the text
                says that its manifest was written and is not known to be durable.
            StoreBusyError: the store is being cleaned, and that does not end.
        """
        check_name(name)
        parts = parts_of(chain, tensors, head)
        refs = refs_of(parts)
        head_ref = refs.pop() if head is not None else None
        snapshot = Snapshot(
            name=name,
            architecture=chain.architecture,
            blocks=tuple(refs),
            input=chain.input,
            feature_dim=chain.feature_dim,
            head=head_ref,
            origin=dict(origin or {}),
        )
        self.manifests.existing(snapshot, replace=replace)
        make_folder(self.folder)
        with locked(self.blocks_lock, shared=True):
            self._put(parts, all_blocks(snapshot), suspicious=replace)
            with locked(self._models_lock, shared=False):
                stored = self.manifests.existing(snapshot, replace=replace)
                return stored or self.manifests.write(snapshot)

    def names(self) -> list[str]:
        """Return the names of all models, in order."""
        return self.manifests.names()

    def snapshot(self, name: str) -> Snapshot:
        """Return the model of this name; its blocks are not looked at.

        Raises:
            UnknownNameError: there is none.
            CorruptFileError: its manifest is damaged.
        """
        return self.manifests.read(name)

    def snapshots(self) -> list[Snapshot]:
        """Return all models in the order of their names, less those that are removed meanwhile.

        Raises:
            CorruptFileError: a manifest is damaged.
        """
        found = []
        for name in self.names():
            with suppress(UnknownNameError):
                found.append(self.snapshot(name))
        return found

    def block_path(self, ref: BlockRef) -> Path:
        """Return a block's file, whether it is there or not."""
        return self.blocks.path(ref.key)

    def read_block(self, ref: BlockRef, verify: bool = False) -> dict[str, torch.Tensor]:
        """Return a block's tensors in fresh memory.

        The file's size, and the names, types and shapes in its header, are always checked.

        Args:
            ref: which block.
            verify: also compare the digest of its tensors: some second a GB.

        Raises:
            CorruptBlockError: it is missing or damaged; block, file and models are named.
        """
        try:
            return self.blocks.read(ref, verify=verify)
        except BlockDamage as damage:
            raise self.corrupt_block(ref, str(damage)) from damage

    def check_block(self, ref: BlockRef) -> None:
        """See that a block is there, by its file's header and size.

        Raises:
            CorruptBlockError: it is missing, truncated, or another block's file.
        """
        try:
            self.blocks.check(ref)
        except BlockDamage as damage:
            raise self.corrupt_block(ref, str(damage)) from damage

    def corrupt_block(self, ref: BlockRef, reason: str) -> CorruptBlockError:
        """Return the error that names a block, its file, its models and what is wrong with it."""
        path, models = self.block_path(ref), self.models_of(ref.key)
        return CorruptBlockError(
            f"{path}: block {ref.spec.kind} cannot be used, {reason}; it belongs to "
            f"{', '.join(models) or 'no model'}; store these models anew with replace=True",
            key=ref.key,
            path=path,
            models=models,
            reason=reason,
        )

    def models_of(self, key: str) -> list[str]:
        """Return the names of the models that have a block; damaged manifests are passed over."""
        found = []
        for name in self.names():
            try:
                blocks = all_blocks(self.snapshot(name))
            except BenchCoreError:
                continue
            if any(ref.key == key for ref in blocks):
                found.append(name)
        return found

    def remove(self, name: str) -> None:
        """Remove a model; its blocks stay until they are collected.

        Raises:
            UnknownNameError: there is none of this name.
        """
        self.manifests.require(name)
        with locked(self._models_lock, shared=False):
            self.manifests.remove(name)

    def export(self, name: str, path: Path, format: str = "torch") -> Path:
        """Write a model's features as one state dict, keys ``<block>.<name in the block>``.

        A file that was written so, of the same blocks, and is untouched since, is left as it is.

        Args:
            name: of the model.
            path: the file, or for some formats the folder, to appear whole.
            format: one of `bench_core.formats.names`.

        Raises:
            UnknownNameError: there is no such model or format.
            CorruptBlockError: a block is missing or damaged.
            SaveError: it could not be written.
        """
        snapshot = self.snapshot(name)
        if not is_exported(snapshot, path, format):
            state = {
                f"{index}.{key}": tensor
                for index, ref in enumerate(snapshot.blocks)
                for key, tensor in self.read_block(ref, verify=True).items()
            }
            write_export(snapshot, state, path, format)
        return path

    def _put(
        self,
        parts: Sequence[tuple[BlockSpec, Part]],
        refs: Sequence[BlockRef],
        *,
        suspicious: bool,
    ) -> None:
        """Bring all blocks to the device, the names of their files included."""
        for ref, (_, part) in zip(refs, parts, strict=True):
            if isinstance(part, BlockRef):
                self.check_block(part)
            else:
                self.blocks.put(ref, part, suspicious=suspicious)
        sync_folders({self.block_path(ref).parent for ref in refs})
