"""What a call of a hosted tool uses besides input: a fee, or the tokens of other models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.books.pricing.ceilings import minimum_for, tokens_of, wanted_for
from tokenbalance.books.pricing.units import UNITS
from tokenbalance.openai import find_operation
from tokenbalance.openai.ceilings.image_tool import use_of
from tokenbalance.openai.estimate import bound
from tokenbalance.openai.tokens.models import model_for

if TYPE_CHECKING:
    from tokenbalance.model import Document, Estimate, Json, Quantities

RESPONSES = find_operation("POST", b"/responses")
CHAT = find_operation("POST", b"/chat/completions")
SEARCH: Json = {"type": "web_search"}
MCP: Json = {"type": "mcp", "server_label": "x", "server_url": "https://mcp.example.com/"}
CODE: Json = {"type": "code_interpreter", "container": {"type": "auto"}}
IMAGES: dict[str, Json] = {"type": "image_generation"}
GPT_5 = model_for("gpt-5")


def estimated(**fields: Json) -> Estimate:
    document: Document = {"model": "gpt-5", "input": "hi", "max_output_tokens": 1_000, **fields}
    return bound(RESPONSES, document)


def used_by_calls(**fields: Json) -> tuple[Quantities, ...]:
    calls = estimated(**fields).calls
    assert calls is not None
    return calls.uses


def drawn(images: int = 0, **members: Json) -> dict[str, int]:
    return dict(use_of({**IMAGES, **members}, images, GPT_5, "gpt-5"))


def test_a_call_has_the_fee_of_its_tool() -> None:
    assert used_by_calls(tools=[SEARCH]) == ((("call:web_search", 1),),)
    both = ((("call:web_search", 1),), (("session:code_interpreter", 1),))
    assert used_by_calls(tools=[CODE, SEARCH, {"type": "web_search_preview"}]) == both
    assert used_by_calls(tools=[MCP]) == ()


def test_a_call_that_makes_images_uses_tokens_of_second_bills() -> None:
    (use,) = used_by_calls(tools=[IMAGES, MCP])
    assert [kind for kind, _ in use] == ["image_tool_input", "image_tool_output"]
    (use,) = used_by_calls(tools=[{**IMAGES, "output_format": "svg"}])
    kinds = {kind for kind, _ in use}
    assert kinds == {side for side, _ in UNITS.sides} - {"input", "output"}


def test_tools_that_may_not_be_called_use_nothing() -> None:
    assert estimated(tools=[IMAGES], tool_choice="none").calls is None
    allowed: Json = {"type": "allowed_tools", "mode": "auto", "tools": [SEARCH]}
    assert used_by_calls(tools=[IMAGES, SEARCH], tool_choice=allowed) == (
        (("call:web_search", 1),),
    )
    # Their descriptions are read all the same.
    one = estimated(tools=[IMAGES, SEARCH], tool_choice=allowed).known_input
    assert one > estimated(tools=[SEARCH]).known_input + 1_000


def test_without_a_card_images_are_tokens_and_fees_are_nothing() -> None:
    searching, drawing = estimated(tools=[CODE]), estimated(tools=[IMAGES])
    assert drawing.calls is not None
    (use,) = drawing.calls.uses
    assert wanted_for(searching, None) == searching.input_tokens + 1_000
    assert wanted_for(drawing, None) == drawing.input_tokens + 1_000 + 8 * tokens_of(use)
    # All calls are given up before the request is.
    assert minimum_for(drawing, None) == drawing.known_input + 16
    insisting = estimated(tools=[IMAGES], tool_choice={"type": "image_generation"})
    assert minimum_for(insisting, None) > tokens_of(use)


# Known numbers of tokens of one image: OpenAI's table for gpt-image-1, its calculator for
# gpt-image-2, and what was measured for gpt-image-2.6.
KNOWN = [
    ("low", "1024x1024", 272),
    ("low", "1024x1536", 408),
    ("medium", "1024x1536", 1_584),
    ("high", "1024x1024", 4_160),
    ("high", "1024x1536", 6_240),
    ("high", "1024x1024", 7_024),
    ("high", "1536x1024", 5_488),
    ("high", "3584x2048", 12_329),
    ("low", "1536x1024", 664),
    ("high", "3840x2160", 3_337),
    ("auto", "1024x1024", 5_800),
    (None, None, 7_024),
]


@pytest.mark.parametrize(("quality", "size", "tokens"), KNOWN)
def test_no_known_image_has_more_tokens_than_are_held_for_it(
    quality: str | None, size: str | None, tokens: int
) -> None:
    held = drawn(quality=quality, size=size)["image_tool_output"]
    # With three partial images, and a text that is written before.
    assert tokens + 300 <= held < 8 * tokens + 30_000


def test_a_size_that_cannot_be_read_is_the_largest() -> None:
    largest = drawn(size="3840x2160")["image_tool_output"]
    for size in ("99999x99999", "1024X1024", "0x0", " 1024x1024", 1024):
        assert drawn(size=size)["image_tool_output"] == largest
    assert drawn(size="1024x1024", output_format="gif")["image_tool_output"] == largest
    assert drawn(size="1024x1024")["image_tool_output"] < largest


def test_a_quality_that_is_not_known_is_the_finest() -> None:
    finest = drawn(quality="max")["image_tool_output"]
    for quality in ("xhigh", "auto", None, "of a later year", 3):
        assert drawn(quality=quality)["image_tool_output"] == finest
    assert drawn(quality="high")["image_tool_output"] < finest


def read_for(*items: Json) -> int:
    (use,) = used_by_calls(tools=[IMAGES], input=list(items))
    return dict(use)["image_tool_input"]


def test_images_in_the_input_may_be_read_by_the_image_model() -> None:
    picture: Json = {"type": "input_image", "image_url": "https://example.com/x.png"}
    message: Json = {"role": "user", "content": [{"type": "input_text", "text": "x"}, picture]}
    made: Json = {"type": "image_generation_call", "id": "ig_1", "result": "AAAA"}
    plain, more = read_for({"role": "user", "content": "x"}), read_for(message, made)
    assert more == drawn(2)["image_tool_input"] > plain + 10_000
    assert drawn(100) == drawn(16)
    assert drawn(input_image_mask={})["image_tool_input"] == drawn(1)["image_tool_input"]


def test_the_author_of_an_svg_may_write_as_much_as_it_can() -> None:
    assert drawn(output_format="svg")["svg_output"] == GPT_5.maximum_output
    named = drawn(output_format="svg", svg={"model": "gpt-4o"})
    assert named["svg_output"] == model_for("gpt-4o").maximum_output
    assert "svg_output" not in drawn(svg={"model": "gpt-4o"})


# Chats.


def chatted(model: str, **fields: Json) -> Estimate:
    return bound(CHAT, {"model": model, "messages": [{"role": "user", "content": "x"}], **fields})


def test_a_search_of_a_chat_is_used_in_any_case() -> None:
    for estimate in (
        chatted("gpt-4o-search-preview"),
        chatted("gpt-5-search-api", web_search_options={}),
    ):
        assert estimate.unreported == (("call:web_search", 1),)
        assert estimate.calls is None or estimate.calls.uses == ()
    assert chatted("gpt-4o", web_search_options=None).unreported == ()
