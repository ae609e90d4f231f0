"""Counting that stops early, and the fewest tokens of a text: never above the count."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.documents import CHAT, EMBEDDINGS, chat, messages, request
from tokenbalance.openai.estimate import bound, count, least
from tokenbalance.openai.tokens import counting
from tokenbalance.openai.tokens.counting import LimitedCount, count_tokens, least_tokens
from tokenbalance.openai.tokens.vocabularies import (
    CL100K,
    LONGEST_TOKEN_BYTES,
    O200K,
    vocabulary,
)

NAMES = st.sampled_from([CL100K, O200K])
DENSE = st.sampled_from([" " * 128, " " * 200, "-" * 114, "\n" * 90, "=" * 128, "\t" * 99])
TEXTS = st.lists(st.one_of(st.text(), DENSE), max_size=6).map("".join)
LONG = {"role": "user", "content": "All work and no play makes Jack a dull boy. " * 20_000}


@pytest.mark.parametrize("name", [CL100K, O200K])
def test_the_longest_token_is_that_of_the_vocabulary(name: str) -> None:
    assert max(map(len, vocabulary(name).token_byte_values())) == LONGEST_TOKEN_BYTES[name]


@given(name=NAMES, text=TEXTS)
def test_no_text_has_fewer_tokens_than_the_fewest_of_its_bytes(name: str, text: str) -> None:
    encoding = vocabulary(name)
    assert least_tokens(name, text) <= len(encoding.encode_ordinary(text))
    assert least_tokens(name, text) <= count_tokens(encoding, text)


@given(
    name=NAMES,
    texts=st.lists(TEXTS, max_size=4),
    most=st.integers(0, 60),
    piece=st.integers(2, 50),
)
def test_a_limited_count_is_exact_up_to_its_limit_and_never_too_high_beyond(
    name: str, texts: list[str], most: int, piece: int
) -> None:
    encoding = vocabulary(name)
    with (
        mock.patch.object(counting, "PIECE_CHARACTERS", piece),
        mock.patch.object(counting, "_SEARCH_CHARACTERS", piece - 1),
    ):
        exact = sum(count_tokens(encoding, text) for text in texts)
        limited = LimitedCount(encoding, most)
        total = sum(limited(text) for text in texts)
    assert limited.stopped is (exact > most)
    assert most < total <= exact if limited.stopped else total == exact


def test_counting_stops_with_the_piece_that_exceeds_the_limit() -> None:
    with mock.patch.object(counting, "_count_piece", wraps=counting._count_piece) as pieces:
        stopped = count(CHAT, messages(LONG, LONG), most=20_000)
    assert pieces.call_count == 2
    assert not stopped.counted
    assert 20_000 < stopped.input_tokens < count(CHAT, messages(LONG, LONG)).input_tokens


def test_a_count_within_its_limit_is_the_count() -> None:
    assert count(CHAT, chat(), most=1_000) == count(CHAT, chat())


@pytest.mark.parametrize("model", ["gpt-4o-mini", "gpt-3.5-turbo"])
def test_the_least_of_a_request_is_below_its_count_and_far_below_its_bytes(model: str) -> None:
    document = messages(LONG) | {"model": model}
    lowest = least(CHAT, document).input_tokens
    assert lowest <= count(CHAT, document).input_tokens
    assert lowest < bound(CHAT, document).input_tokens / 100
    tokens = request(model="text-embedding-3-small", input=[[1] * 500])
    assert least(EMBEDDINGS, tokens).input_tokens == 500
