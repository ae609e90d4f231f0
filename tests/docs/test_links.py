"""Links between the pages lead somewhere, and every page can be found."""

from __future__ import annotations

import pytest

from tests.docs.pages import DOCS, OURS, ROOT, Page

LANGUAGES = {"sh", "text", "toml", "json", "js", "python", "yaml", "ini", "nginx", "caddyfile", ""}


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Page) -> None:
    broken = [link for link in page.links if not _leads_somewhere(page, link)]
    assert broken == []


def _leads_somewhere(page: Page, link: str) -> bool:
    if link.startswith(("https://", "http://", "mailto:")):
        return True
    name, _, anchor = link.partition("#")
    target = (page.path.parent / name).resolve() if name else page.path
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not anchor or anchor in Page(target).anchors


def test_every_page_is_in_the_index_and_every_decision_in_the_architecture() -> None:
    index = Page(DOCS / "README.md")
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md", "comparison.md"}
    assert pages <= set(index.links)
    architecture = Page(DOCS / "architecture.md")
    decisions = {f"decisions/{path.name}" for path in (DOCS / "decisions").glob("*.md")}
    assert decisions <= set(architecture.links)


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_every_block_says_in_which_language_it_is(page: Page) -> None:
    """So that none with commands escapes those that are run."""
    assert {block.language for block in page.blocks} <= LANGUAGES
    plain = [block.line for block in page.blocks if not block.language and "\n$ " in block.text]
    assert plain == []


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.name)
def test_a_mark_stands_above_a_block_of_commands_and_nowhere_else(page: Page) -> None:
    marked = [block for block in page.blocks if block.not_run]
    assert page.text.count("<!-- not run") == len(marked)
    assert all(block.language == "sh" for block in marked)
