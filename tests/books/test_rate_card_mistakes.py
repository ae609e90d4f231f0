"""Mistakes in what only cards of version 2 have, each told by its line."""

from __future__ import annotations

import pytest

from tokenbalance.books.pricing.rate_card import RateCardError, read_rate_card

HEAD = 'version = 2\n[[models]]\nmatch = "m"\ninput = 1\noutput = 1\n'
"""Five lines."""


def refusal(text: str) -> str:
    with pytest.raises(RateCardError) as error:
        _ = read_rate_card(text)
    message = str(error.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("long = 3", "long: must be a table"),
        ("long = { input = 2 }", "long: has no above"),
        ("long = { above = 1 }", "long: has no factor (input, output or both)"),
        ("long = { above = 1.5, input = 2 }", "long.above: must be an integer from 0"),
        ("long = { above = true, input = 2 }", "long.above: must be an integer"),
        ("long = { above = -1, input = 2 }", "long.above: must be an integer"),
        ("long = { above = 1, input = 0 }", "long.input: must be more than 0, and not more"),
        ("long = { above = 1, inputs = 2 }", "long.inputs: is not a known key; use one of above"),
        ("tier = 3", "tier: must be a table"),
        ("tier = { flex = 0 }", "tier.flex: must be more than 0, and not more than 1000"),
        ("tier = { flex = -1 }", "tier.flex: must be more than 0"),
        ("tier = { flex = 1001 }", "tier.flex: must be more than 0, and not more than 1000"),
        ("tier = { flex = true }", "tier.flex: must be a number"),
        ("tier = { flex = nan }", "tier.flex: must be a number"),
        ("tier = { flex = inf }", "tier.flex: must be a number"),
        ("tier = { flex = 1e999 }", "tier.flex: has too many digits"),
        ('tier = { flex = "half" }', 'tier.flex: must be a number, or a fraction such as "5/3"'),
        ('tier = { flex = "0.5" }', "tier.flex: must be a number, or a fraction"),
        ('tier = { flex = "1/0" }', "tier.flex: must be a number, or a fraction"),
        ('tier = { flex = "0/3" }', "tier.flex: must be more than 0"),
        ('tier = { flex = "-1/3" }', "tier.flex: must be a number, or a fraction"),
        ('tier = { flex = "1/9999999999999999999" }', "tier.flex: must be a number, or a fraction"),
        ("tier = { Flex = 1 }", "tier.Flex: is not a name of a service tier, such as flex"),
        ('window = { "24 h" = 1 }', "window.24 h: is not a name of a completion window"),
        ("window = { 24h = 0 }", "window.24h: must be more than 0"),
        ("region = { EU = 1 }", "region.EU: is not a name of a region, such as eu"),
        ("region = { eu = [] }", "region.eu: must be a number"),
        ("batch = 0", "batch: must be more than 0"),
        ("batch = { a = 1 }", "batch: must be a number"),
        ("calls = 10", "calls: must be a table"),
        ('calls = { "call:web_search" = 1 }', "calls.call:web_search: is not a name of a tool"),
        ("calls = { web_search = -1 }", "calls.web_search: must not be negative"),
        ("calls = { web_search = 1000001 }", "calls.web_search: must not be more than 1000000"),
        ("calls = { web_search = 0.0000000001 }", "calls.web_search: must not have more than 9"),
        ("second_audio = -1", "second_audio: must not be negative"),
        ('valid_from = "2026-11-17"', "valid_from: must be a date, such as 2026-11-17, without"),
        ("valid_from = 2026-11-17T10:00:00Z", "valid_from: must be a date"),
        ("image_tool_input = 1", "image_tool_input: is not a known key"),
        ("svg_output = 1", "svg_output: is not a known key"),
        ('"call:web_search" = 1', "call:web_search: is not a known key"),
        ('"tier:flex" = 1', "tier:flex: is not a known key"),
    ],
)
def test_a_mistake_in_a_row_is_told_by_its_line(line: str, expected: str) -> None:
    assert refusal(HEAD + line).startswith(f"line 6: models[0].{expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = 3\n" + HEAD[12:], "line 1: version: must be an integer from 1 to 2"),
        ('version = "2"\n' + HEAD[12:], "line 1: version: must be an integer from 1 to 2"),
        ("version = true\n" + HEAD[12:], "line 1: version: must be an integer from 1 to 2"),
        ("version = 2.0\n" + HEAD[12:], "line 1: version: must be an integer from 1 to 2"),
        ("version = 2\n[[models]]\nmatch = []", "line 3: models[0].match: must be a pattern"),
        ("version = 2\n[[models]]\nmatch = ['a', 3]", "line 3: models[0].match: must be a pattern"),
        ("version = 2\n[[models]]\nmatch = ['']", "line 3: models[0].match: must be a pattern"),
        (
            "version = 2\n[[models]]\nmatch = 'a'\ncache_write = 3",
            "line 2: models[0]: has no rate for input (write input = 0 if it is free)",
        ),
        (
            "version = 2\n[[models]]\nmatch = 'a'\ntier = { flex = 1 }",
            "line 2: models[0]: has no rates",
        ),
        (
            "version = 2\nunpriced = 'default'\n[default]\nrequest = 1\nvalid_from = 2026-01-01",
            "line 5: default.valid_from: is not a known key",
        ),
        (HEAD + "[models.tier]\nflex = 0.5\nfast = 0\n", "line 8: models[0].tier.fast: must be"),
    ],
)
def test_a_mistake_elsewhere_is_told_by_its_line(text: str, expected: str) -> None:
    assert refusal(text).startswith(expected)


@pytest.mark.parametrize(
    "line",
    [
        "cache_write = 1",
        "second_audio = 1",
        "long = { above = 1, input = 2 }",
        "tier = { flex = 0.5 }",
        "window = { 24h = 0.5 }",
        "batch = 0.5",
        "region = { eu = 1.1 }",
        "calls = { web_search = 1 }",
        "valid_from = 2026-11-17",
    ],
)
def test_what_is_new_in_version_2_is_told_so_in_a_card_without_a_version(line: str) -> None:
    key = line.partition(" ")[0]
    text = f"{HEAD[12:]}{line}"
    assert refusal(text) == f"line 5: models[0].{key}: needs version = 2 at the top of the card"


def test_a_list_of_patterns_is_new_too() -> None:
    assert refusal("[[models]]\nmatch = ['a']\nrequest = 1") == (
        "line 2: models[0].match: a list of patterns needs version = 2 at the top of the card"
    )
