"""The command: its help, its mistakes in one line, its exit codes."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from harness import cli
from harness.errors import HarnessError, InputError


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command(arguments: tuple[str, ...]) -> None:
    done = call(*arguments)
    assert done.returncode == 0
    for name in cli.COMMANDS:
        assert f"  {name} " in done.stdout


def test_help_imports_no_command_and_none_of_what_they_need() -> None:
    script = (
        "import sys\n"
        "from harness.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'pandas', 'matplotlib', 'asv', 'bench_core'}\n"
        "commands = {name for name in sys.modules if name.startswith('harness.commands')}\n"
        "assert not heavy & set(sys.modules) and not commands, sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["commits", "dashboard"])
def test_a_command_s_help_imports_nothing_heavy_either(name: str) -> None:
    script = (
        "import sys\n"
        "from harness.cli import main\n"
        f"try:\n    main([{name!r}, '--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'numpy', 'pandas', 'asv'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ["comits"],
            "bench-core: there is no command 'comits'; did you mean 'commits'? "
            "(see bench-core --help)\n",
        ),
        (["xyzzy"], "bench-core: there is no command 'xyzzy' (see bench-core --help)\n"),
        (
            ["commits", "--forse", "HEAD"],
            "bench-core: No such option '--forse'. Did you mean '--force'? "
            "(see bench-core commits --help)\n",
        ),
        (["commits"], "bench-core: Missing argument 'A..B'. (see bench-core commits --help)\n"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_with_the_nearest_name(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == complaint


class Failing(Exception):
    """An error that is nobody's message to the user."""


@pytest.fixture
def failing_command(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | int]:
    """Make `bench-core run` raise or return what the test puts into the list."""
    outcome: list[BaseException | int] = []

    @click.command("run")
    def command() -> int:
        what = outcome[0]
        if isinstance(what, BaseException):
            raise what
        return what

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, context, name: command)
    return outcome


def test_errors_of_every_package_end_with_their_line_and_exit_code_two(
    failing_command: list[BaseException | int], capsys: pytest.CaptureFixture[str]
) -> None:
    from bench_core.errors import SaveError
    from prevent_caching.errors import PreventCachingError

    for error, line in (
        (InputError("section x is unknown"), "section x is unknown"),
        (HarnessError("two\nlines"), "two lines"),
        (SaveError("the disk is full"), "the disk is full"),
        (PreventCachingError("no watcher"), "no watcher"),
        (FileNotFoundError(2, "No such file", "a.json"), "[Errno 2] No such file: 'a.json'"),
    ):
        failing_command[:] = [error]
        with pytest.raises(SystemExit) as ended:
            cli.main(["run"])
        assert ended.value.code == 2
        assert capsys.readouterr().err == f"bench-core: {line}\n"


def test_a_fault_of_the_program_itself_keeps_its_traceback(
    failing_command: list[BaseException | int],
) -> None:
    failing_command[:] = [Failing("a bug")]
    with pytest.raises(Failing):
        cli.main(["run"])


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_a_command_s_return_value_is_the_exit_code(
    failing_command: list[BaseException | int], code: int
) -> None:
    failing_command[:] = [code]
    with pytest.raises(SystemExit) as ended:
        cli.main(["run"])
    assert ended.value.code == code


def test_an_interrupt_is_one_line_and_code_130(
    failing_command: list[BaseException | int], capsys: pytest.CaptureFixture[str]
) -> None:
    failing_command[:] = [KeyboardInterrupt()]
    with pytest.raises(SystemExit) as ended:
        cli.main(["run"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.split() == ["bench-core:", "interrupted"]


def test_every_command_is_there_and_describes_itself() -> None:
    """A name in the help that cannot be imported would only be found by its user."""
    import importlib

    for name, (module, line) in cli.COMMANDS.items():
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        assert command.name == name
        assert command.help
        assert line
