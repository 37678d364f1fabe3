"""Links in the pages lead somewhere, and files that the pages name are there."""

import re

import pytest
from sources import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.md")])
FOLDERS = "docs|benchmarks|device_lib|host_tools|firmware|tests|examples"


def anchors(page):
    """GitHub's anchors of a page's headings: lower case, no punctuation, words joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if ":" in link.split("/")[0]:
            continue  # another site
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link} is not there"
        assert not anchor or anchor in anchors(target), f"{link}: the page has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page):
    for path in re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./-]*\w)", page.read_text()):
        assert (ROOT / path).exists(), f"{path} is not there"
