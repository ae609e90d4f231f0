"""The rate card: what it says of a model, and what is wrong with it, by the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenbalance.books.pricing.rate_card import (
    RateCard,
    RateCardError,
    UnpricedModel,
    load_rate_card,
    read_rate_card,
)
from tokenbalance.books.pricing.rates import rates_document
from tokenbalance.settings import SettingsError, load_settings

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/rate-cards").glob("*.toml"))

CARD = """
[[models]]
match = "gpt-4o-mini*"
input = 0.15
output = 0.6

[[models]]
match = "gpt-4o*"
input = 2.5
output = 10
"""


def refusal(text: str) -> str:
    with pytest.raises(RateCardError) as error:
        _ = read_rate_card(text)
    message = str(error.value)
    assert message.isprintable()
    return message


def row(*rates: str) -> str:
    return "\n".join(['[[models]]\nmatch = "*"', *rates])


def test_the_first_row_that_matches_counts() -> None:
    card = read_rate_card(CARD)
    assert rates_document(card.rates_for("gpt-4o-mini-2024-07-18"))["input"] == "0.15"
    assert rates_document(card.rates_for("gpt-4o-2024-08-06"))["input"] == "2.5"


def test_a_pattern_matches_the_whole_name_and_its_case() -> None:
    card = read_rate_card('[[models]]\nmatch = "o[13]-*"\ninput = 1\noutput = 1')
    assert card.rates_for("o1-mini")
    for other in ("o2-mini", "O1-mini", "xo1-mini", "o1"):
        with pytest.raises(UnpricedModel):
            card.rates_for(other)


def test_the_default_is_not_for_another_spelling_of_a_model_that_has_a_row() -> None:
    card = read_rate_card(
        'unpriced = "default"\ndefault = {input = 1, output = 1}\n'
        '[[models]]\nmatch = "gpt-4o*"\ninput = 5\noutput = 5\n'
        '[[models]]\nmatch = "GPT-4o-x"\ninput = 7\noutput = 7'
    )
    inputs = [card.rates_for(name).nano["input"] // 10**9 for name in ("GPT-4O", "GPT-4o-x", "o3")]
    assert inputs == [5, 7, 1]


def test_a_model_without_a_row_has_no_rate_or_that_of_the_default() -> None:
    with pytest.raises(UnpricedModel) as unpriced:
        read_rate_card(CARD).rates_for("o3")
    assert unpriced.value.model == "o3"
    card = read_rate_card(f'unpriced = "default"\n[default]\ninput = 7\noutput = 8\n{CARD}')
    assert rates_document(card.rates_for("o3"))["output"] == "8"
    assert rates_document(card.rates_for("gpt-4o"))["output"] == "10"


def test_a_kind_that_is_left_out_costs_what_the_kind_around_it_costs() -> None:
    rates = read_rate_card(row("input = 1", "audio_input = 3", "output = 2")).rates_for("m")
    assert rates_document(rates) == {
        "input": "1",
        "cached_input": "1",
        "output": "2",
        "reasoning": "2",
        "audio_input": "3",
        "audio_output": "2",
        "image_input": "1",
        "image_output": "2",
        "cache_write": "1",
        "cache_write_12h": "1",
        "cached_image_input": "1",
        "request": "0",
    }


def test_rates_may_be_per_many_tokens_but_a_request_is_one() -> None:
    text = "per = 1_000_000\n" + row("input = 150_000.5", "output = 600_000", "request = 3")
    rates = rates_document(read_rate_card(text).rates_for("m"))
    assert (rates["input"], rates["output"], rates["request"]) == ("0.1500005", "0.6", "3")


def test_a_price_of_the_request_alone_is_enough() -> None:
    assert rates_document(read_rate_card(row("request = 4")).rates_for("m"))["request"] == "4"


def test_the_smallest_and_the_largest_rate_are_exact() -> None:
    rates = read_rate_card(row("input = 0.000000001", "output = 1_000_000")).rates_for("m")
    assert (rates.nano["input"], rates.nano["output"]) == (1, 10**15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: it sets no rates"),
        ("\n\nrates = 1", "line 3: rates: is not a known key"),
        ("models = 3", "line 1: models: must be a list of tables"),
        ("[models]\ninput = 1", "line 1: models: must be a list of tables"),
        ("# none\n[[models]]\ninput = 1\noutput = 1", "line 2: models[0]: has no match"),
        ('[[models]]\nmatch = ""\ninput = 1', "line 2: models[0].match: must be a pattern"),
        ("[[models]]\nmatch = 3\ninput = 1", "line 2: models[0].match: must be a pattern"),
        (row(), "line 1: models[0]: has no rates"),
        (row("input = 1"), "line 1: models[0]: has no rate for output (write output = 0"),
        (row("output = 1"), "line 1: models[0]: has no rate for input (write input = 0"),
        (row("", "# comment", "input = -0.1", "output=1"), "line 5: models[0].input: must not be"),
        (row("input = 1", "output = true"), "line 4: models[0].output: must be a number"),
        (row("input = '1'", "output = 1"), "line 3: models[0].input: must be a number"),
        (row("input = nan", "output = 1"), "line 3: models[0].input: must be a number"),
        (row("input = inf", "output = 1"), "line 3: models[0].input: must be a number"),
        (row("input = [1]", "output = 1"), "line 3: models[0].input: must be a number"),
        (row("input = 1e999999999", "output = 1"), "line 3: models[0].input: has too many digits"),
        (row("input = 1e-999999999", "output = 1"), "line 3: models[0].input: has too many digits"),
        (row(f"input = {'9' * 5000}", "output = 1"), "line 4: "),
        (row("input = 1000000.1", "output = 1"), "line 3: models[0].input: must not be more than"),
        (row("request = 1000001"), "line 3: models[0].request: must not be more than 1000000"),
        (row("input = 0.0000000001", "output = 1"), "line 3: models[0].input: must not have more"),
        ("per=1000\n" + row("input=0.0000001", "output=1"), "line 4: models[0].input: must not"),
        ("per = 0\n" + row("request = 1"), "line 1: per: must be an integer"),
        ("per = 1.0\n" + row("request = 1"), "line 1: per: must be an integer"),
        ("per = true\n" + row("request = 1"), "line 1: per: must be an integer"),
        (row("request = 1", "inputs = 1"), "line 4: models[0].inputs: is not a known key"),
        (row("request = 1", "a.b = 1"), "line 4: models[0].a: is not a known key"),
        (row("request = 1", '"\\n\\u001b" = 1'), "line 4: 'models[0]."),
        ('unpriced = "free"', 'line 1: unpriced: must be "refuse" or "default"'),
        ("unpriced = []", 'line 1: unpriced: must be "refuse" or "default"'),
        ('unpriced = "default"\n' + row("request=1"), "line 1: unpriced: needs a table [default]"),
        ("[default]\ninput = 1\noutput = 1", "line 1: default: has no effect without"),
        ('unpriced = "default"\n[default]', "line 2: default: has no rates"),
        (
            'unpriced = "default"\ndefault = 3',
            "line 2: default: must be a table",
        ),
        (
            'unpriced = "default"\n[default]\ninput = 1\noutput = 1\nmatch = "a"',
            "line 5: default.match: is not a known key",
        ),
        (row("input = "), "line 3: "),
        (row("input = 1", "input = 2"), "line 4: Cannot overwrite a value"),
        ('match = "', "line 1: "),
        ("models = [\n  {match = 'a', request = 1},\n  {match = 'b'}\n]", "line 1: models[1]: has"),
    ],
)
def test_a_mistake_is_told_by_its_line(text: str, expected: str) -> None:
    assert refusal(text).startswith(expected)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("*", "gpt-4o"),
        ("*", "*"),
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o*", "gpt-4o-mini*"),
        ("gpt-*", "gpt-4?"),
        ("gpt-*", "gpt-[45]*"),
        ("gpt-4?", "gpt-4o"),
        ("*mini*", "gpt-4o-mini*"),
    ],
)
def test_a_row_behind_one_that_matches_everything_of_it_is_a_mistake(
    first: str, later: str
) -> None:
    rows = [f'[[models]]\nmatch = "{pattern}"\nrequest = 1\n' for pattern in (first, later)]
    assert refusal("".join(rows)).startswith("line 5: models[1].match: can never match: models[0]")


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ("gpt-4o-mini*", "gpt-4o*"),
        ("gpt-4?", "gpt-4*"),
        ("gpt-4??", "gpt-4*"),
        ("a?*", "a*"),
        ("*b*", "x[abc]"),
        ("gpt-[4]", "gpt-?"),
        ("gpt-4o", "gpt-4o*"),
    ],
)
def test_a_row_that_only_overlaps_with_an_earlier_one_is_none(first: str, later: str) -> None:
    rows = [f'[[models]]\nmatch = "{pattern}"\nrequest = 1\n' for pattern in (first, later)]
    assert len(read_rate_card("".join(rows)).rows()) == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RateCardError, match=r"^cannot be read \(FileNotFoundError\)$"):
        load_rate_card(tmp_path / "none.toml")
    with pytest.raises(RateCardError, match=r"^cannot be read \(IsADirectoryError\)$"):
        load_rate_card(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(RateCardError, match=r"^cannot be read \(UnicodeDecodeError\)$"):
        load_rate_card(tmp_path / "latin.toml")
    (tmp_path / "long.toml").write_bytes(b"#" * 300_000)
    with pytest.raises(RateCardError, match="longer than"):
        load_rate_card(tmp_path / "long.toml")


def test_the_settings_carry_the_card_or_name_what_is_wrong_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().rates is None
    monkeypatch.setenv("TOKENBALANCE_RATE_CARD", "card.toml")
    with pytest.raises(SettingsError, match=r"^TOKENBALANCE_RATE_CARD: cannot be read"):
        _ = load_settings().rates
    card = tmp_path / "card.toml"
    card.write_text(CARD)
    settings = load_settings()
    rates = settings.rates
    assert isinstance(rates, RateCard)
    assert len(rates.rows()) == 2
    card.write_text(CARD.replace("2.5", "-2.5"))
    assert settings.rates is rates
    with pytest.raises(SettingsError) as error:
        _ = load_settings().rates
    assert str(error.value) == (
        "TOKENBALANCE_RATE_CARD: line 9: models[1].input: must not be negative"
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_of_the_docs_are_cards(path: Path) -> None:
    card = load_rate_card(path)
    assert len(card.rows()) > 3
    nano = card.rates_for("gpt-4o-mini").nano
    assert nano["output"] > nano["input"] > 0


def test_there_are_two_examples() -> None:
    assert [path.name for path in EXAMPLES] == ["micro-dollars.toml", "weighted-tokens.toml"]
