"""What is stored upstream, on one's own page and on the superusers'."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.async_api import expect

from tests.support.admin import links_of
from tests.support.stored_objects import record, store
from tokenbalance.model.objects import Found

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.books import Holder
    from tests.support.people import Pages, People
    from tests.support.watched_browser import WatchedBrowser
    from tokenbalance.database.connections import Pool

PATH = "/account/objects"
HOSTILE = "<script>alert('1')</script>.pdf"


async def everything(pages: Pages, path: str) -> list[str]:
    """The ids in a list, followed to its end."""
    seen: list[str] = []
    for _ in range(5):
        page = await pages.see(path)
        seen += re.findall(r'<td class="name"><code>([\w-]+)</code>', page.text)
        following = links_of(page, "Older")
        if not following:
            return seen
        (path,) = following
    msg = "the list has no end"
    raise AssertionError(msg)


async def test_one_sees_ones_own_objects_of_all_kinds_newest_first(
    people: People, pool: Pool, holder: Holder
) -> None:
    somebody = await people.create()
    async with people.signed_in(somebody) as pages:
        assert "No objects yet." in (await pages.see(PATH)).text
        chats = await store(pool, somebody, "chat_completion", 60)
        files = await store(pool, somebody, "file", 60, status="processed", filename=HOSTILE)
        await store(pool, holder, "file", 3)
        await record(pool, somebody, Found("item", "msg_1"))
        (gone,) = await store(pool, somebody, "file")
        await pool.execute("UPDATE objects SET deleted_at = now() WHERE object_id = $1", gone)
        page = (await pages.see(PATH)).text
        assert "&lt;script&gt;" in page
        assert "<script>alert" not in page
        assert await everything(pages, PATH) == files[::-1] + chats[::-1]
        assert await everything(pages, f"{PATH}?kind=chat_completion") == chats[::-1]
        assert "No matching objects." in (await pages.see(f"{PATH}?kind=voice")).text
        for wrong, status in (("kind=item", 400), ("kid=file", 400), ("after=x", 404)):
            assert (await pages.get(f"{PATH}?{wrong}")).status_code == status


async def test_a_conversation_is_deleted_as_the_page_says(
    people: People, pool: Pool, product: str
) -> None:
    somebody = await people.create()
    (conversation,) = await store(pool, somebody, "conversation")
    async with people.signed_in(somebody) as pages:
        page = (await pages.see(PATH)).text
    assert f"curl -X DELETE {product}/v1/conversations/{conversation} " in page


async def test_superusers_see_the_objects_of_a_user(
    admin: Admin, people: People, pool: Pool, holder: Holder
) -> None:
    somebody = await people.create()
    ids = await store(pool, somebody, "file", 2)
    await store(pool, holder, "file", 2)
    assert "Enter the e-mail of a user." in (await admin.pages.see("/admin/objects")).text
    path = f"/admin/objects?user={somebody.email}"
    assert await everything(admin.pages, path) == ids[::-1]
    assert await everything(admin.pages, f"{path}&kind=file") == ids[::-1]
    assert await everything(admin.pages, f"{path}&kind=upload") == []
    assert (await admin.pages.get("/admin/objects?user=nobody")).status_code == 400
    async with people.signed_in(somebody) as pages:
        assert (await pages.get("/admin/objects")).status_code in {303, 403, 404}


async def test_the_list_is_filtered_in_a_browser(
    browser: WatchedBrowser, people: People, pool: Pool
) -> None:
    somebody = await people.create()
    await store(pool, somebody, "file", filename="report.pdf", status="processed")
    await store(pool, somebody, "conversation")
    page = browser.page
    await browser.sign_in(somebody)
    await page.get_by_role("link", name="Stored objects").click()
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(2)
    await page.get_by_label("Kind").select_option("file")
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("report.pdf")
