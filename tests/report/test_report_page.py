from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import pytest
from report_builders import LIMITS, header, interleaved, machine, record, write_run

from harness.report.analysis import analyse
from harness.report.build import Report, build
from harness.report.load import load

MEDIANS = {"direct": 0.12, "safetensors": 0.2, "torch": 0.4}
NASTY = "<script>alert('x')</script> & \"more\""


class Reader(HTMLParser):
    """Collects what a page refers to, its headings, rows and texts."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags = [""]
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.tags[-1] not in ("style", "script"):
            self.texts.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("report")
    ended = {**LIMITS, "sequential_read": 1.6e9}
    run = write_run(
        folder / "run.jsonl",
        [
            *interleaved(MEDIANS),
            record(None, status="failed", reason=NASTY, params={"format": "redis"}),
        ],
        header(machine=machine(), settings={"seed": 7}),
        limits=[("begin", LIMITS), ("end", ended)],
    )
    return build(analyse(load([run])), folder / "out")


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return report.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_the_page_needs_no_other_file_and_no_network(page: str, reader: Reader) -> None:
    assert reader.references
    assert all(link.startswith(("data:", "#")) for link in reader.references)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", page)


def test_every_link_has_its_section(page: str, reader: Reader) -> None:
    links = [link[1:] for link in reader.references if link.startswith("#")]
    assert len(links) == 6
    assert all(f'id="{name}"' in page for name in links)


def test_texts_of_the_results_are_escaped(page: str, reader: Reader) -> None:
    assert NASTY in "".join(reader.texts)
    assert page.count("<script>") == 1


@pytest.mark.parametrize(
    "words",
    [
        "amd-epyc-2c-vm at 62589e8ee7",
        "1 failed",
        "limits drifted by more than 20 %",
        "sequential_read|2.20 GB/s|1.60 GB/s|-27 %",
        "direct read into touched memory",
        "layer_loading.WholeModel.time_load",
        "faster",
        "git checkout 62589e8ee77dae763d488c2a3608a83818e39589\nbench-core run quick",
        "# settings: seed=7",
    ],
)
def test_the_page_says(reader: Reader, words: str) -> None:
    assert words in "|".join(reader.texts)


def test_figures_are_in_the_page_and_beside_it(report: Report, reader: Reader) -> None:
    images = [link for link in reader.references if link.startswith("data:image/png;base64,")]
    names = [path.name for path in report.files if path.parent.name == "figures"]

    assert names == ["layer_loading_WholeModel_time_load_bars.pdf",
                     "layer_loading_WholeModel_time_load_bars.png"]  # fmt: skip
    assert len(images) == 1


def test_the_folder_holds_all_forms(report: Report) -> None:
    names = {str(path.relative_to(report.folder)) for path in report.files}

    assert {
        "index.html",
        "report.md",
        "cases.csv",
        "samples.csv",
        "tables/layer_loading_WholeModel_time_load.tex",
    } <= names
    assert "| **direct** |" in (report.folder / "report.md").read_text()
    assert len((report.folder / "samples.csv").read_text().splitlines()) == 1 + 19


def chromium(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars "
        "--disable-background-networking --disable-component-update --disable-sync"
    )
    return subprocess.run(
        [program, *flags.split(), *arguments], capture_output=True, text=True, timeout=60
    )


def test_a_browser_shows_the_page(report: Report, tmp_path: Path) -> None:
    shot = tmp_path / "page.png"
    done = chromium(
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=1200,1600",
        f"--screenshot={shot}",
        report.page.as_uri(),
    )

    assert shot.exists(), done.stderr
    pixels = matplotlib.image.imread(shot)[..., :3]
    assert pixels.shape[:2] == (1600, 1200)
    dark = (pixels.mean(axis=2) < 0.5).mean()
    assert 0.005 < dark < 0.5


def test_a_press_on_a_heading_sorts_the_table(report: Report, tmp_path: Path) -> None:
    press = (
        "<script>for (const b of document.querySelectorAll('th button'))"
        " if (b.textContent === 'median') { b.click(); b.click(); }</script></body>"
    )
    pressed = tmp_path / "pressed.html"
    pressed.write_text(report.page.read_text(encoding="utf-8").replace("</body>", press))

    done = chromium(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", pressed.as_uri())

    table = done.stdout.partition('id="tables"')[2].partition("</table>")[0]
    rows = re.findall(r"<tr[^>]*><td>(\w+)</td>", table)
    assert rows == ["torch", "safetensors", "direct", "redis"]
    assert 'aria-sort="descending"' in table
