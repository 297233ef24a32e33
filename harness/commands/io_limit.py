"""`bench-core io-limit`: run a command under a bandwidth limit, or show that a limit holds."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import click

from harness.errors import InputError, RefusedError
from prevent_caching.errors import PreventCachingError
from prevent_caching.io_limit import Limit, docker_flags, format_rate, limited, parse_rate, verify
from prevent_caching.rates import RateError


def _rate(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    """Return a bandwidth such as 100MB/s in bytes per second."""
    try:
        return None if text is None else parse_rate(text)
    except RateError as error:
        raise click.BadParameter(str(error)) from None


@click.command("io-limit", context_settings={"allow_interspersed_args": False})
@click.option(
    "--read",
    "read_bps",
    callback=_rate,
    metavar="RATE",
    help="Read bandwidth, for example 100MB/s.",
)
@click.option(
    "--write",
    "write_bps",
    callback=_rate,
    metavar="RATE",
    help="Write bandwidth, for example 1GiB/s.",
)
@click.option(
    "--path",
    type=click.Path(exists=True, path_type=Path),
    default=Path(),
    show_default=True,
    help="A path on the device to limit.",
)
@click.option("--verify", "verified", is_flag=True, help="Measure before, under and after.")
@click.option("--docker", is_flag=True, help="Print the flags for docker run and do nothing.")
@click.argument("command_line", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def command(
    read_bps: int | None,
    write_bps: int | None,
    path: Path,
    verified: bool,
    docker: bool,
    command_line: tuple[str, ...],
) -> None:
    """Limit the bandwidth of the device behind a path for COMMAND and all that it starts.

    With --verify, direct reads and writes are measured before, under and after such a limit, and
    COMMAND runs only if the limit holds. Reads that the page cache answers are not limited.
    """
    if read_bps is None and write_bps is None:
        raise click.UsageError("give --read, --write or both")
    if not (verified or docker or command_line):
        raise click.UsageError("give a COMMAND after --, or --verify, or --docker")
    try:
        if docker:
            click.echo(" ".join(docker_flags(path, read_bps, write_bps)))
            return
        if verified:
            _verify(path, read_bps, write_bps, to_stderr=bool(command_line))
        if command_line:
            with _Runner() as runner, limited(path, read_bps, write_bps) as limit:
                click.echo(_describe(limit), err=True)
                status = runner.run(command_line)
            sys.exit(status)
    except PreventCachingError as error:
        raise RefusedError(str(error)) from error


def _verify(path: Path, read_bps: int | None, write_bps: int | None, *, to_stderr: bool) -> None:
    """Print what was measured; the standard output belongs to the command where there is one."""
    directory = path if path.is_dir() else path.parent
    for found in verify(directory, read_bps, write_bps):
        click.echo(
            f"{found.direction:5}  limit {format_rate(found.limit)}  before "
            f"{format_rate(found.before)}  under {format_rate(found.under)}  after "
            f"{format_rate(found.after)}  {'does not hold' if found.problem else 'holds'}",
            err=to_stderr,
        )
        if found.problem is not None:
            raise RefusedError(found.problem)


def _describe(limit: Limit) -> str:
    rates = {"read": limit.read_bps, "write": limit.write_bps}
    what = ", ".join(f"{name}s at {format_rate(rate)}" for name, rate in rates.items() if rate)
    line = f"device {limit.device} limited by cgroup v{limit.version}: {what}"
    if limit.version == 1 and limit.write_bps:
        line += "; buffered writes are not limited by v1, only direct and synchronous ones"
    return line


class _Runner:
    """Runs one command to its end, so that the limit is lifted after it whoever ends it.

    SIGTERM goes on to the command. SIGINT is left to it: a terminal sends it to both.
    """

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._terminated = False

    def __enter__(self) -> _Runner:
        self._before = {
            number: signal.signal(number, self._forward)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def run(self, command_line: Sequence[str]) -> int:
        """Run the command in this process's cgroup; return its exit status as a shell gives it."""
        try:
            self._child = subprocess.Popen(command_line)
        except OSError as error:
            raise InputError(f"cannot run {command_line[0]!r}: {error.strerror}") from None
        if self._terminated:
            # It came before there was a child to send it to.
            self._child.terminate()
        status = self._child.wait()
        return status if status >= 0 else 128 - status

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            self._terminated = True
            if self._child is not None:
                self._child.terminate()
