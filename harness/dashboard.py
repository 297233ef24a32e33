"""asv's site, written so that it opens with no network, from a server or from the disk."""

from __future__ import annotations

import functools
import http.server
import json
import re
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from harness.asv_project import Project
from harness.errors import HarnessError, InputError
from harness.subprocesses import output_of

ASSETS: Final = Path(__file__).with_name("dashboard_assets")
VENDOR: Final = "vendor"

VENDORED: Final = {
    "https://code.jquery.com/jquery-3.3.1.min.js": "jquery-3.3.1.min.js",
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.min.js": (
        "jquery.flot-0.8.3.min.js"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.time.min.js": (
        "jquery.flot-0.8.3.time.min.js"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.selection.min.js": (
        "jquery.flot-0.8.3.selection.min.js"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/flot/0.8.3/jquery.flot.categories.min.js": (
        "jquery.flot-0.8.3.categories.min.js"
    ),
    "https://cdn.jsdelivr.net/npm/flot-orderbars@1.0.0/js/jquery.flot.orderBars.js": (
        "jquery.flot.orderBars-1.0.0.js"
    ),
    "https://cdnjs.cloudflare.com/ajax/libs/stupidtable/1.0.1/stupidtable.min.js": "stupidtable.js",
    "https://cdnjs.cloudflare.com/ajax/libs/blueimp-md5/2.19.0/js/md5.min.js": "md5-2.19.0.min.js",
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/js/bootstrap.min.js": (
        "bootstrap-3.1.1.min.js"
    ),
    "https://cdn.jsdelivr.net/npm/bootstrap@3.1.1/dist/css/bootstrap.min.css": (
        "bootstrap-3.1.1.min.css"
    ),
}
"""What the page of asv 0.6 loads from the net, and our copy of it."""

_LOADED: Final = re.compile(
    r"<(?:script|link)\b[^>]*?\b(?:src|href)=\"(?P<url>(?:https?:)?//[^\"]+)\"[^>]*>"
)
_GUARDS: Final = re.compile(r" (?:integrity|crossorigin|referrerpolicy)=\"[^\"]*\"")


def write_site(project: Project, out: Path | None = None) -> Path:
    """Publish asv's results as a site in ``out`` and return its index.html.

    The site appears whole: an earlier one is replaced when the new one is complete.

    Args:
        project: see `harness.asv_project.open_project`.
        out: a new or empty folder, or an earlier site; by default asv's own ``html_dir``.

    Raises:
        InputError: there are no results, or ``out`` holds something else than a site.
    """
    out = (out or project.site).resolve()
    _require_replaceable(out)
    if not (project.results / "benchmarks.json").is_file():
        raise InputError(
            f"{project.results} holds no results; measure some with asv run or bench-core commits"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        publish = [sys.executable, "-m", "asv", "publish", "--no-pull", "--html-dir", str(fresh)]
        output_of(publish, folder=project.root)
        localise(fresh)
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return out / "index.html"


def localise(site: Path) -> None:
    """Make a site that asv has published load nothing from the net, and open from the disk.

    Raises:
        HarnessError: its page loads something of which there is no copy here.
    """
    index = site / "index.html"
    vendor = site / VENDOR
    vendor.mkdir()
    for name in (*VENDORED.values(), "local_files.js", "LICENSES.txt"):
        shutil.copyfile(ASSETS / name, vendor / name)
    page = _LOADED.sub(_local, index.read_text(encoding="utf-8"))
    shim = f'<script src="{VENDOR}/local_files.js"></script>'
    index.write_text(page.replace("</head>", f"    {shim}\n  </head>", 1), encoding="utf-8")
    for data in sorted(site.rglob("*.json")):
        path = json.dumps(data.relative_to(site).as_posix())
        content = data.read_text(encoding="utf-8")
        script = data.with_name(f"{data.name}.js")
        script.write_text(f"benchCoreFile({path}, {content});\n", encoding="utf-8")


def serve(site: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve a site on the loopback interface until interrupted.

    Args:
        site: the folder with index.html.
        port: 0 for any that is free.
        ready: called with the address once the server listens.

    Raises:
        InputError: the port cannot be used.
    """
    handler = functools.partial(_QuietHandler, directory=str(site))
    try:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise InputError(
            f"port {port} cannot be used: {error.strerror}; 0 takes a free one"
        ) from error
    with server:
        ready(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line on stderr for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def _local(tag: re.Match[str]) -> str:
    """Return a tag of the page with our copy in the place of what it loads from the net."""
    url = tag["url"]
    if url not in VENDORED:
        raise HarnessError(
            f"asv's page loads {url}, of which there is no copy in {ASSETS}; "
            "this version of asv is not known here"
        )
    return _GUARDS.sub("", tag[0].replace(url, f"{VENDOR}/{VENDORED[url]}"))


def _require_replaceable(out: Path) -> None:
    """Raise unless ``out`` is missing, empty, or a site: it is going to be removed."""
    if out.is_dir() and (not any(out.iterdir()) or (out / "asv.js").is_file()):
        return
    if out.exists():
        raise InputError(f"{out} holds something else than a site of asv; name another folder")
