"""What runs on a GPU, on a device that is simulated, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

HERE = Path(__file__).parent
HELPERS = [HERE, HERE.parent / "model_search", HERE.parent / "snapshots"]


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch knows no devices that are written in Python",
)
@pytest.mark.parametrize("cases", ["device_search_cases.py", "device_rooms_cases.py"])
def test_on_the_device_as_on_the_host(cases: str, tmp_path: Path) -> None:
    settings = ["-p", "simulated_device", "-p", "no:cacheprovider", "-q", "-ra"]
    path = os.pathsep.join(map(str, HELPERS))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *settings, "--basetemp", str(tmp_path), str(HERE / cases)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
