"""What images may cost: OpenAI's published figures are within the ceilings, and not far below."""

from __future__ import annotations

from typing import Any

import pytest

from tokenbalance.errors import InvalidRequest
from tokenbalance.openai import find_operation
from tokenbalance.openai.estimate import bound

PLAN = 2_048
PARTIAL = 300


def most(path: str = "/images/generations", **fields: Any) -> Any:
    body = {"model": "gpt-image-1", "prompt": "A cat", **fields}
    return bound(find_operation("POST", path.encode()), body)


@pytest.mark.parametrize(
    ("model", "quality", "size", "published"),
    [
        ("gpt-image-1", "low", "1024x1024", 272),
        ("gpt-image-1-mini", "medium", "1024x1536", 1_584),
        ("gpt-image-1.5", "high", "1536x1024", 6_208),
        ("gpt-image-1.5", "auto", "auto", 6_240),
        ("gpt-image-1", "unheard-of", "9x9", 6_240),
        ("gpt-image-2", "high", "1024x1024", 7_024),
        ("gpt-image-2-2026-04-21", "low", "1024x1024", 195),
        ("gpt-image-2", "high", "3584x2048", 12_329),
        ("gpt-image-2.6-sunburst", "low", "1024x1024", 664),
        ("gpt-image-2.6-sunburst", None, "1024x1024", 5_800),
    ],
)
def test_a_published_image_is_within_its_ceiling(
    model: str, quality: str | None, size: str, published: int
) -> None:
    cap = most(model=model, quality=quality, size=size).output_cap
    assert published <= cap <= 2.2 * published + PLAN + PARTIAL or model.startswith("gpt-image-2.6")


def test_an_unknown_model_is_taken_for_the_dearest() -> None:
    fields = {"quality": "high", "size": "1024x1024"}
    others = ("gpt-image-1", "gpt-image-1.5", "gpt-image-2", "gpt-image-2.5-flare")
    unknown = most(model="gpt-image-9", **fields).output_cap
    assert unknown >= max(most(model=name, **fields).output_cap for name in others)


def test_each_image_reads_the_whole_input_and_partial_images_cost_more() -> None:
    one, three = most(), most(n=3)
    assert (three.input_tokens, three.choices) == (3 * one.input_tokens, 3)
    assert most(partial_images=2).output_cap == one.output_cap + 200
    assert dict(three.more)["image"] == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"images": [{"file_id": "file-1"}, {"image_url": "https://a/b.png"}]},
        {"image": [{"filename": "a", "size": 1}, {"filename": "b", "size": 1}]},
        {"image": {"filename": "a", "size": 1}, "mask": {"filename": "m", "size": 1}},
    ],
)
def test_images_that_are_given_are_read_in_every_spelling(fields: dict[str, Any]) -> None:
    without = most("/images/edits").input_tokens
    low = most("/images/edits", **fields).input_tokens - without
    high = most("/images/edits", input_fidelity="high", **fields).input_tokens - without
    newer = most("/images/edits", model="gpt-image-2", **fields).input_tokens - without
    assert (low, high, newer) == (2 * 2_048, 2 * 8_192, 2 * 8_192)


def test_an_author_of_svg_is_bounded_by_its_own_model() -> None:
    more = dict(most(output_format="svg", svg={"model": "gpt-5.4-mini"}).more)
    assert more["svg_output"] == 128_000
    assert more["svg_input"] > 8_192
    with pytest.raises(InvalidRequest):
        most(output_format="svg", svg={})
