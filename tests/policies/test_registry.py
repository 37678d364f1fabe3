"""Policies are found by their files; each works when the others' files are gone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimtab_tools
from methods import METHODS, left_out
from models import Builder
from trimtab_tools.errors import UsageError
from trimtab_tools.formats import write_tflite
from trimtab_tools.policies import registry
from trimtab_tools.policies.policy import Request

OPTIONAL = [method for method in METHODS if not left_out(method)]


def test_every_file_with_a_policy_is_found():
    room = Path(registry.__file__).parent
    files = {p.stem for p in room.glob("*.py") if "\nPOLICY = " in p.read_text()}
    assert {"plan" if name == "by_hand" else name for name in files} == set(registry.policies())
    assert {"last", "bias", "full", "sparse", "plan", *OPTIONAL} <= set(registry.policies())
    for name, policy in registry.policies().items():
        assert policy.usage.startswith(name) and policy.usage in registry.usage()
        assert registry.why(name) == policy.why and policy.why.endswith(".")


def test_a_policy_that_is_not_there_is_said_by_its_name():
    assert registry.why("nowhere") == "nowhere" and "predicts" in registry.why("none")


@pytest.mark.parametrize(
    "text, scheme, name, words",
    [
        ("last", None, "last", ""),
        ("plan:a:b,c.json", None, "plan", "a:b,c.json"),
        ("sparse", "4:2=1/2", "sparse", "4:2=1/2"),
    ],
)
def test_a_request_is_read_once(text, scheme, name, words):
    request = Request.of(text, scheme)
    assert request == Request(name, words) and Request.of(request) is request
    assert Request.of(str(request)) == request


def test_a_scheme_belongs_to_sparse():
    with pytest.raises(UsageError, match="give --policy sparse with it"):
        Request.of("bias", "4:2=1/2")


STORY = """
import sys
sys.path.insert(0, %r)
from trimtab_tools.compiler.compile import compile_graph
from trimtab_tools.formats import read_tflite
from trimtab_tools.policies import registry
print(registry.__file__, *registry.policies())
print(len(compile_graph(read_tflite.read(%r), "bias", classes=3).data))
"""


@pytest.mark.parametrize("method", OPTIONAL)
def test_a_policys_files_may_be_deleted(method, tmp_path):
    """The rest compiles; the policy is unknown."""
    b = Builder((4, 4, 2), 1)
    b.conv(4, act="relu")
    b.mean()
    b.dense(3)
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(b.graph()))
    room = tmp_path / "trimtab_tools"
    shutil.copytree(Path(trimtab_tools.__file__).parent, room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (room / "policies").glob(f"{method}*.py"):
        file.unlink()
    story = STORY % (str(tmp_path), str(tmp_path / "net.tflite"))
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file, *found), (size,) = (line.split() for line in done.stdout.splitlines())
    assert file.startswith(str(room)) and int(size) > 100
    assert set(found) == set(registry.policies()) - {method}
