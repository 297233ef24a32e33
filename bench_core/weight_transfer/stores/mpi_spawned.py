"""What a spawned provider process runs: ``python -m`` this module, by `mpi_worlds.Providers`."""

from __future__ import annotations

import signal
import sys
from typing import Any

from bench_core.errors import BenchCoreError
from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.stores.mpi_messages import LONGEST_SLEEP, ORDER, wait_for
from bench_core.weight_transfer.stores.mpi_provider import serve


def main() -> None:
    """Keep one shard after the other for the process that spawned this one, until it ends that.

    Raises:
        StoreError: nobody spawned this process.
    """
    # Whoever interrupts the process that spawned this one goes on using its store.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    mpi4py: Any = require("mpi4py", "mpi")
    mpi4py.rc.thread_level = "funneled"
    mpi: Any = require("mpi4py.MPI", "mpi")
    parent = mpi.Comm.Get_parent()
    if parent == mpi.COMM_NULL:
        raise StoreError("a provider is started by `spawn_providers`, not from a command line")
    while True:
        message = wait_for(lambda: parent.improbe(0, ORDER), LONGEST_SLEEP)
        order = message.recv()
        if order is None:
            break
        make_shard, longest_sleep = order
        serve(parent, make_shard, parent.Get_remote_size(), parent.Get_rank(), longest_sleep)
    parent.Disconnect()


if __name__ == "__main__":
    try:
        main()
    except BenchCoreError as error:
        sys.exit(str(error))
