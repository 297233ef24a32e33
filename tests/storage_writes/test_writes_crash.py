"""kill -9 at random moments of a save: the old file or the new one, never half, no rubbish kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

N_KILLS = 12

# Forks writers that save two models in turn to one path, and kills each after a random time. It
# starts no thread of its own and touches no tensor, so that the forks find a sound process.
KILLER = """
import json, os, pathlib, random, signal, sys, time
from bench_core import formats
from bench_core.models import tensors, tensors_digest
from bench_core.storage_writes import save

format, folder, n_kills = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
formats.get(format).check_available()
states = [tensors("stack_8x1MiB", seed) for seed in (0, 1)]
path = folder / "model"

def forked(action):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(int(action() or 0))
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(9)
    return pid

def save_for_ever():
    while True:
        for state in states:
            save(state, path, format=format)

def which():
    with formats.get(format).open(path) as reader:
        found = tensors_digest(reader.read())
    return 1 + [tensors_digest(state) for state in states].index(found)

def status(action):
    return os.waitstatus_to_exitcode(os.waitpid(forked(action), 0)[1])

assert status(lambda: save(states[0], path, format=format) and 0) == 0
random.seed(0)
found, left = [], []
for _ in range(n_kills):
    pid = forked(save_for_ever)
    time.sleep(random.uniform(0.02, 0.08))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found.append(status(which))
    left.append([file.name for file in folder.iterdir() if file != path])
status(lambda: save(states[1], path, format=format) and 0)
end = [file.name for file in folder.iterdir()]
print(json.dumps({"found": found, "left": left, "end": end, "last": status(which)}))
"""


@pytest.mark.parametrize(
    "format",
    [
        "direct",
        pytest.param("safetensors", marks=pytest.mark.slow),
        pytest.param("torch", marks=pytest.mark.slow),
    ],
)
def test_a_killed_save_leaves_the_old_file_or_the_new_one(tmp_path: Path, format: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, format, str(tmp_path), str(N_KILLS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert set(seen["found"]) <= {1, 2}, f"neither of the two models: {seen}"
    # A writer may use a folder beside its temporary file: both belong to one save.
    saves = [{name.removesuffix(".d") for name in names} for names in seen["left"]]
    assert max(map(len, saves)) == 1, f"rubbish of more than one save, or no kill hit one: {seen}"
    assert seen["end"] == ["model"]
    assert seen["last"] == 2
