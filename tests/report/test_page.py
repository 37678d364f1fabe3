"""The page of the report: a browser shows it as it is meant."""

import html
import json
import os
import re
import shutil
import subprocess

import pytest
from helpers import compiled
from reported import LOG, facts, network
from trimtab_tools import cli
from trimtab_tools.compiler import facts as report
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import UsageError
from trimtab_tools.formats import write_tflite
from trimtab_tools.report import page as report_page
from trimtab_tools.report.timeline import usage

PLAN = {"policy": "full", "loss": "softmax", "rate": 1e-3, "labels": ("<cat>", "dog & co")}


def page(c, log=()):
    return report_page.page("net <1>", facts(c), PLAN, len(c.data), log)


def test_no_more_is_live_than_the_arena_holds():
    found = facts(compiled(network(), "full"))
    assert found["lower_bound_bytes"] <= max(usage(found)) <= found["arena_bytes"]


def test_the_page_holds_all_in_itself():
    said = page(compiled(network(), "full"), LOG)
    assert not re.search(r"(?:https?:)?//[a-z]", said.replace("//# ", "")), "something outside the page"
    assert "net &lt;1&gt;" in said and "&lt;cat&gt;" in said and "<cat>" not in said


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(network()))
    return tmp_path


def test_a_package_tells_the_same_as_its_model(model):
    words = ["--policy", "full", "--labels", "a,b"]
    assert cli.main(["compile", "net.tflite", *words, "-o", "net.ttp"]) == 0
    (model / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOG))
    assert cli.main(["report", "net.ttp", "-o", "a.html", "--log", "log.jsonl"]) == 0
    assert cli.main(["report", "net.tflite", *words, "-o", "b.html", "--log", "log.jsonl"]) == 0
    assert (model / "a.html").read_text() == (model / "b.html").read_text()
    assert "loss by epoch" in (model / "a.html").read_text()
    assert len(Contents("net.ttp").notes["report"]["buffers"]) == (model / "a.html").read_text().count(
        '<rect class="tensor'
    )


def test_a_log_that_is_none_is_refused(model, capsys):
    (model / "log.txt").write_text("epoch 1 of 2\n")
    with pytest.raises(UsageError, match="train --json"):
        report.read_log("log.txt")
    assert cli.main(["report", "net.tflite", "-o", "x.html", "--log", "log.txt"]) == 1
    assert not (model / "x.html").exists()


# -- in a browser

PROBE = """<script>
const shown = [...document.querySelectorAll(".tensor")].filter(r => r.getBoundingClientRect().height > 0
  && r.getBoundingClientRect().width > 0);
const frame = document.querySelector("svg").getBoundingClientRect();
const outside = shown.filter(r => { const b = r.getBoundingClientRect();
  return b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1
    || b.bottom > frame.bottom + 1; });
shown[0].dispatchEvent(new PointerEvent("pointerenter"));
document.title = JSON.stringify({shown: shown.length, outside: outside.length,
  about: document.getElementById("about").textContent, rows: document.querySelectorAll("tbody tr").length,
  wide: document.body.scrollWidth > document.body.clientWidth});
</script></body>"""


@pytest.fixture(scope="session")
def chromium():
    """The browser's command; installed where that is possible."""
    name = next((n for n in ("chromium", "chromium-browser", "google-chrome") if shutil.which(n)), None)
    if name is None and shutil.which("apt-get") and os.geteuid() == 0:
        done = subprocess.run(
            "apt-get update && apt-get install -y --no-install-recommends chromium",
            shell=True,
            capture_output=True,
            timeout=600,
        )
        name = "chromium" if done.returncode == 0 and shutil.which("chromium") else None
    if name is None:
        pytest.skip("no Chromium here, and none could be installed: apt-get install chromium")
    return name


def show(browser, folder, text, width=1280):
    """(what the probe saw, console lines) of a page in a headless browser."""
    (folder / "page.html").write_text(text.replace("</body>", PROBE), encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--window-size={width},900",
            "--dump-dom",
            (folder / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    assert title, done.stderr[-2000:]
    seen = html.unescape(title.group(1))
    return json.loads(seen) if seen.startswith("{") else None, [
        line for line in done.stderr.splitlines() if "CONSOLE" in line
    ]


@pytest.mark.parametrize("width", (1280, 500))
def test_a_browser_shows_the_page(chromium, tmp_path, width):
    c = compiled(network(), "full")
    seen, console = show(chromium, tmp_path, page(c, LOG), width)
    assert console == []
    assert seen["shown"] == len(c.placement.lives) and seen["outside"] == 0
    assert "bytes at" in seen["about"]
    assert seen["rows"] == len(facts(c)["layers"]) + len(report_page.PAPERS)
    assert not seen["wide"]


def test_a_broken_page_would_be_noticed(chromium, tmp_path):
    _, console = show(
        chromium, tmp_path, page(compiled(network(), "last")).replace("const about", "nothing(); const about")
    )
    assert any("nothing" in line for line in console)
