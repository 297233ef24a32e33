"""Ways of transferring weights between models: none, a file for each, a scan, the layer store."""

from __future__ import annotations

from bench_core.weight_transfer.methods.base import Stored, TransferMethod
from bench_core.weight_transfer.methods.noop import Noop
from bench_core.weight_transfer.methods.store_method import StoreMethod

__all__ = ["Noop", "StoreMethod", "Stored", "TransferMethod"]
