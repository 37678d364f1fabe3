"""The cache: a thing is built once for what goes into it, by one process at a time."""

import subprocess
import sys

import pytest
from trimtab_tools.errors import ToolchainError
from trimtab_tools.toolchain import cache


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return cache.folder()


def test_a_thing_is_built_once_for_what_goes_into_it(empty_cache, tmp_path):
    source = tmp_path / "source"
    source.write_text("1")
    built = []

    def build(out):
        built.append(out)
        (out / "thing").write_text(source.read_text())

    first = cache.built("thing", [source, "-O2"], build)
    assert cache.built("thing", [source, "-O2"], build) == first and len(built) == 1
    assert cache.built("thing", [source, "-O3"], build) != first
    source.write_text("2")
    assert (cache.built("thing", [source, "-O2"], build) / "thing").read_text() == "2"


def test_a_failed_build_leaves_nothing_behind(empty_cache):
    def build(out):
        (out / "half").write_text("")
        cache.run("false")

    with pytest.raises(ToolchainError, match="false failed with status 1"):
        cache.built("thing", [], build)
    assert [p.name for p in empty_cache.iterdir()] == ["thing.lock"]


def test_one_process_at_a_time_builds_a_thing(empty_cache, tmp_path):
    log = tmp_path / "log"
    code = (
        "import sys, time; from trimtab_tools.toolchain import cache\n"
        "def build(out):\n"
        "    open(sys.argv[1], 'a').write('begin '); time.sleep(0.5); open(sys.argv[1], 'a').write('end ')\n"
        "cache.built('thing', ['x'], build)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, log]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert log.read_text() == "begin end "  # the second process found what the first had built
