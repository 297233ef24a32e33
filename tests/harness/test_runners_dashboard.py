"""asv's site without a network: what it loads, how it is written, and what a browser shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import asv
import pytest
from runners_project import BENCH_CORE, commit_seconds, environment, make_project, run

from harness.dashboard import ASSETS, VENDOR, VENDORED, localise
from harness.errors import HarnessError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGE = Path(asv.__file__).with_name("www") / "index.html"

# Copies that differ from what asv's page names: minified by others, see the README beside them.
OTHER_BYTES = ("jquery.flot-0.8.3", "stupidtable")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of a project with two measured commits."""
    folder = make_project(tmp_path_factory.mktemp("dashboard") / "project")
    for seconds in ("0.010", "0.015"):
        commit_seconds(folder, seconds)
    measured = run(
        folder, BENCH_CORE, "commits", "HEAD~2..HEAD", "--bench", "time_sleep.*('a', 1|'b', 2)"
    )
    assert measured.returncode == 0, measured.stderr
    done = run(folder, BENCH_CORE, "dashboard")
    assert done.returncode == 0, done.stderr
    index = Path(done.stdout.strip())
    assert index == folder / ".asv" / "html" / "index.html"
    return index.parent


def test_there_is_a_copy_of_all_that_asv_s_page_loads() -> None:
    loaded = re.findall(r'(?:src|href)="(https?://[^"]+)"[^>]*integrity', PAGE.read_text())
    assert sorted(loaded) == sorted(VENDORED)
    for name in VENDORED.values():
        assert (ASSETS / name).stat().st_size > 1000


def test_the_copies_have_the_digests_that_asv_s_page_demands() -> None:
    demanded = re.findall(
        r'(?:src|href)="(https?://[^"]+)"[^>]*integrity="(sha\d+)-([^"]+)"', PAGE.read_text()
    )
    compared = 0
    for url, algorithm, digest in demanded:
        if not VENDORED[url].startswith(OTHER_BYTES):
            content = (ASSETS / VENDORED[url]).read_bytes()
            assert base64.b64encode(hashlib.new(algorithm, content).digest()).decode() == digest
            compared += 1
    assert compared == 5


def test_every_licence_is_there_and_goes_with_the_site(site: Path) -> None:
    licences = (site / VENDOR / "LICENSES.txt").read_text()
    for name in ("jQuery", "Bootstrap", "Flot", "MD5", "Stupid", "orderBars"):
        assert name in licences


def test_the_page_and_its_styles_load_nothing_from_elsewhere(site: Path) -> None:
    page = (site / "index.html").read_text()
    loaded = re.findall(r'<(?:script|link|img)\b[^>]*?\b(?:src|href)="([^"]+)"', page)
    assert len(loaded) > 15
    for url in loaded:
        assert ":" not in url
        assert not url.startswith("//")
        assert (site / url).is_file(), url
    assert "integrity" not in page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", style.read_text())


def test_each_data_file_has_its_script_with_the_same_content(site: Path) -> None:
    data = list(site.rglob("*.json"))
    assert site / "index.json" in data
    for path in data:
        script = path.with_name(f"{path.name}.js").read_text()
        name, content = script.removeprefix("benchCoreFile(").removesuffix(");\n").split(", ", 1)
        assert site / json.loads(name) == path
        assert json.loads(content) == json.loads(path.read_text())


def test_a_page_that_loads_something_unknown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<head><script src="https://example.org/new.js" integrity="x"></script></head>'
    )
    with pytest.raises(HarnessError, match=r"loads https://example\.org/new\.js, of which there"):
        localise(tmp_path)


def test_a_folder_that_is_no_site_is_not_overwritten(site: Path, tmp_path: Path) -> None:
    project = site.parent.parent
    (tmp_path / "thesis.tex").write_text("all of it")
    refused = run(project, BENCH_CORE, "dashboard", "--out", tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"bench-core: {tmp_path} holds something else than a site")
    assert (tmp_path / "thesis.tex").read_text() == "all of it"


def test_an_earlier_site_is_replaced_whole(site: Path, tmp_path: Path) -> None:
    project = site.parent.parent
    out = tmp_path / "new" / "site"
    assert run(project, BENCH_CORE, "dashboard", "--out", out).returncode == 0
    (out / "left_over.txt").write_text("from the site before")
    assert run(project, BENCH_CORE, "dashboard", "--out", out).returncode == 0
    assert not (out / "left_over.txt").exists()
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_without_results_there_is_one_line(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    done = run(folder, BENCH_CORE, "dashboard")
    assert done.returncode == 2
    assert "holds no results; measure some with asv run or bench-core commits" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder / ".asv").exists()


def test_the_site_is_served_on_the_loopback_interface(site: Path) -> None:
    project = site.parent.parent
    server = subprocess.Popen(
        [BENCH_CORE, "dashboard", "--serve", "0"],
        cwd=project,
        env=environment(project, PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        address = server.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}index.json", timeout=10) as answer:
            assert "small.Sleep.time_sleep" in json.load(answer)["benchmarks"]
    finally:
        server.terminate()
        server.wait(timeout=10)
        server.stdout and server.stdout.close()
        server.stderr and server.stderr.close()


def shown(site: Path, page: str, profile: Path) -> str:
    """Return the document that Chromium has after loading a page of the site from the disk.

    Every host name fails to resolve, so that anything the page wants from the net is missing.
    """
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile}", "--virtual-time-budget=8000",
            "--window-size=1300,900",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom",
            f"{site.as_uri()}/index.html{page}",
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_without_network_shows_grid_list_and_graph(site: Path, tmp_path: Path) -> None:
    grid = shown(site, "", tmp_path / "grid")
    assert "Sleep.time_sleep" in grid
    assert "<canvas" in grid  # flot has drawn
    assert "Can not determine continental origin" not in grid
    listed = shown(site, "#/summarylist", tmp_path / "list")
    assert "small.Sleep.time_sleep" in listed
    assert "('b', 2)" in listed
    graph = shown(site, "#small.Sleep.time_sleep", tmp_path / "graph")
    assert "kind-a; times-1" in graph  # the legend, which is drawn with the lines
    assert graph.count("<canvas") >= 2
