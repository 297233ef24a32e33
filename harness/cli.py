"""The command ``bench-core``: its subcommands are imported only when they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

import click

from harness.errors import HarnessError, nearest

COMMANDS: Final = {
    "run": ("harness.commands.run", "measure an experiment by its name, or what is left of it"),
    "experiments": (
        "harness.commands.experiments",
        "list, show, plan and watch experiments, or write a template",
    ),
    "report": ("harness.commands.report", "turn results into tables, figures and one HTML page"),
    "compare": ("harness.commands.compare", "compare two runs: ratios, intervals, verdicts"),
    "regret": ("harness.commands.regret", "rank one choice of parameters for all by what it costs"),
    "check": ("harness.commands.check", "say what makes a result weak, and what would mend it"),
    "history": ("harness.commands.history", "find the commits at which a case became another"),
    "search": (
        "harness.commands.search",
        "rank a folder of models by how well they suit a data set",
    ),
    "evolve": (
        "harness.commands.evolve",
        "search an architecture whose candidates take over each other's weights",
    ),
    "birthday": (
        "harness.commands.birthday",
        "estimate what a new architecture has in common with stored ones",
    ),
    "population": (
        "harness.commands.population",
        "draw architectures of a search space, and children of them, into a file",
    ),
    "limits": (
        "harness.commands.limits",
        "probe what this machine's disk, memory and device allow",
    ),
    "snapshots": (
        "harness.commands.snapshots",
        "list, check, clean and compare the models in a store",
    ),
    "commits": ("harness.commands.commits", "measure a range of commits in this environment"),
    "dashboard": (
        "harness.commands.dashboard",
        "write or serve asv's site so that it needs no network",
    ),
    "drop-caches": (
        "harness.commands.drop_caches",
        "drop the page cache, here or through the host",
    ),
    "io-limit": ("harness.commands.io_limit", "limit a device's bandwidth for a process tree"),
}
"""Name to the module that defines its ``command``, and its line in the help."""

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130


class LazyGroup(click.Group):
    """A group that knows its commands by name, so that ``--help`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command and return it, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command named first; an unknown one is an error that suggests the nearest."""
        if args and args[0] not in COMMANDS:
            raise click.UsageError(f"there is no command {args[0]!r}{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' lines without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.version_option(package_name="bench-core", prog_name="bench-core")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Measure how deep-learning models are written and loaded, so that the figure can be believed.

    Exit codes: 0 fine, 1 slower, 2 bad input, 3 broken (failed samples), 4 cannot tell.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit; a user's mistake is one line on stderr and no traceback."""
    try:
        code = cli.main(arguments, prog_name="bench-core", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(_say("interrupted", INTERRUPTED))
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "bench-core"
        sys.exit(_say(f"{error.format_message()} (see {where} --help)", BAD_INPUT))
    except click.ClickException as error:
        sys.exit(_say(error.format_message(), BAD_INPUT))
    except Exception as error:
        if not _is_ours(error):
            raise
        sys.exit(_say(" ".join(str(error).split()), BAD_INPUT))
    sys.exit(code if isinstance(code, int) else 0)


def _say(line: str, code: int) -> int:
    click.echo(f"bench-core: {line}", err=True)
    return code


def _is_ours(error: Exception) -> bool:
    """Tell whether an error's text is meant for the user.

    bench_core and prevent_caching are looked at only if the command has imported them.
    """
    if isinstance(error, HarnessError):
        return True
    bases = (
        ("bench_core.errors", "BenchCoreError"),
        ("prevent_caching.errors", "PreventCachingError"),
    )
    loaded = [(sys.modules[module], name) for module, name in bases if module in sys.modules]
    ours = tuple(getattr(module, name) for module, name in loaded)
    # A file that cannot be opened or written is the user's, too, when the error names it.
    return isinstance(error, ours) or (isinstance(error, OSError) and error.filename is not None)


if __name__ == "__main__":
    main()
