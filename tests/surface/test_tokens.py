"""Vocabularies, counting and the facts about models."""

from __future__ import annotations

import pytest

from tokenbalance.errors import ModelNotFound
from tokenbalance.model import OPENAI, UpstreamTraits
from tokenbalance.openai.tokens import count_tokens, encoding_for, load
from tokenbalance.openai.tokens.counting import PIECE_CHARACTERS, byte_bound
from tokenbalance.openai.tokens.models import check_model_name, model_for
from tokenbalance.openai.tokens.vocabularies import CL100K, O200K, vocabulary

SENTENCE = "The quick brown fox jumps over the lazy dog. Häuser, 汉字 and naïve café: it's 12345!\n"

GATEWAY = UpstreamTraits(is_openai=False)
COMPATIBLE = UpstreamTraits(is_openai=False, knows_openai_models=False)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4", CL100K),
        ("gpt-4-0613", CL100K),
        ("gpt-4-turbo", CL100K),
        ("gpt-3.5-turbo", CL100K),
        ("gpt-3.5-turbo-instruct", CL100K),
        ("text-embedding-3-small", CL100K),
        ("davinci-002", CL100K),
        ("gpt-4o-mini", O200K),
        ("gpt-4.1", O200K),
        ("ft:gpt-4.1:org::1", O200K),
        ("ft:gpt-3.5-turbo-0125:org::1", CL100K),
        ("gpt-5", O200K),
        ("o3", O200K),
        ("gpt-7-next", O200K),
    ],
)
def test_a_model_has_the_encoding_of_its_longest_known_prefix(model: str, name: str) -> None:
    assert encoding_for(model).name == name


def test_tokens_are_those_of_the_published_vocabularies() -> None:
    load()
    text = "tiktoken is great!"
    assert vocabulary(CL100K).encode_ordinary(text) == [83, 1609, 5963, 374, 2294, 0]
    assert vocabulary(O200K).encode_ordinary(text) == [83, 8251, 2488, 382, 2212, 0]


def test_special_tokens_in_a_text_are_text() -> None:
    assert count_tokens(vocabulary(O200K), "<|endoftext|>") > 1


@pytest.mark.parametrize("name", [CL100K, O200K])
@pytest.mark.parametrize(
    "unit",
    [
        SENTENCE,
        "word ",
        "word\n\n\n  ",
        "a1b2c3",
        "汉字。",
        "don't ",
        "x \t y",
        "f(x)=[1,2];",
    ],
)
def test_cutting_a_long_text_does_not_change_its_count(name: str, unit: str) -> None:
    text = unit * (3 * PIECE_CHARACTERS // len(unit))
    encoding = vocabulary(name)
    assert count_tokens(encoding, text) == len(encoding.encode_ordinary(text))


@pytest.mark.parametrize("name", [CL100K, O200K])
@pytest.mark.parametrize(
    "unit", [" ", "a", "\n", "7", "^", "😀", "é", "e\u0301", "x'", "don'T", " a"]
)
def test_a_text_without_words_is_never_counted_too_low(name: str, unit: str) -> None:
    text = unit * (PIECE_CHARACTERS + 5_000)
    encoding = vocabulary(name)
    assert len(encoding.encode_ordinary(text)) <= count_tokens(encoding, text) <= byte_bound(text)


def test_pieces_on_both_sides_of_an_uncertain_cut_count_as_bytes() -> None:
    run = "a" * (PIECE_CHARACTERS + 10)
    assert count_tokens(vocabulary(O200K), run) == len(run)


class NativeError(BaseException):
    """What tiktoken's native code raises when it fails, seen from here."""


class Failing:
    """Stands in for an encoding that fails on some pieces; of others every word is a token."""

    def __init__(self, error: BaseException, word: str = "") -> None:
        self.error = error
        self.word = word
        self.pieces: list[str] = []

    def encode_ordinary(self, text: str) -> list[int]:
        self.pieces.append(text)
        if self.word in text:
            raise self.error
        return [0] * len(text.split())


def test_a_piece_on_which_tiktoken_fails_counts_as_its_bytes() -> None:
    assert count_tokens(Failing(NativeError()), "né") == 3  # pyright: ignore[reportArgumentType] - a stand-in for an encoding


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), ImportError(), ValueError()]
)
def test_errors_that_are_not_tiktokens_are_not_hidden(error: BaseException) -> None:
    with pytest.raises(type(error)):
        count_tokens(Failing(error), "né")  # pyright: ignore[reportArgumentType] - a stand-in for an encoding


def test_a_long_text_is_never_given_in_one_piece_and_only_the_piece_that_fails_is_bytes() -> None:
    words = "word " * (3 * PIECE_CHARACTERS // 5)
    encoding = Failing(NativeError(), "fails")
    count = count_tokens(encoding, words + "fails " + words)  # pyright: ignore[reportArgumentType] - a stand-in for an encoding
    assert all(len(piece) <= PIECE_CHARACTERS for piece in encoding.pieces)
    (failed,) = (piece for piece in encoding.pieces if "fails" in piece)
    others = [piece for piece in encoding.pieces if piece is not failed]
    assert len(others) >= 5
    assert count == byte_bound(failed) + sum(len(piece.split()) for piece in others)


@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_a_long_text_without_a_place_to_cut_counts_as_its_bytes(character: str) -> None:
    text = character * (2 * PIECE_CHARACTERS + 1)
    encoding = Failing(NativeError())
    assert count_tokens(encoding, text) == byte_bound(text)  # pyright: ignore[reportArgumentType] - a stand-in for an encoding
    assert encoding.pieces == []


@pytest.mark.parametrize(
    ("name", "context", "output", "is_reasoning"),
    [
        ("gpt-4", 8_192, 8_192, False),
        ("gpt-4-0125-preview", 128_000, 4_096, False),
        ("gpt-3.5-turbo-0125", 16_385, 4_096, False),
        ("gpt-4o-2024-08-06", 128_000, 16_384, False),
        ("gpt-4.1-nano", 1_047_576, 32_768, False),
        ("o1-mini", 128_000, 65_536, True),
        ("o3-pro", 200_000, 100_000, True),
        ("gpt-5-mini-2025-08-07", 400_000, 128_000, True),
        ("gpt-5-chat-latest", 128_000, 16_384, False),
        ("gpt-5.5", 1_050_000, 128_000, True),
        ("gpt-5.1-codex", 400_000, 128_000, True),
        ("gpt-5.4-nano-2026-03-17", 400_000, 128_000, True),
        ("gpt-6.2-sol", 1_050_000, 128_000, True),
        ("nobody-knows-it-yet", 1_050_000, 272_000, True),
    ],
)
def test_models_are_known_by_prefix(
    name: str, context: int, output: int, *, is_reasoning: bool
) -> None:
    model = model_for(name)
    assert (model.context, model.maximum_output) == (context, output)
    assert model.is_reasoning is is_reasoning


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-mini",
        "o1",
        "meta-llama/llama-3:70b",
        "gpt-6_x.1",
        "Qwen/Qwen3-0.6B",
        "/models/tiny.gguf",
        "C:\\models\\tiny..gguf",
        "@cf/meta/llama-3.1-8b-instruct",
        "My model (v2)",
        "mod\u00e8le",
        "GPT-OSS-20B",
    ],
)
def test_models_have_the_names_that_their_upstream_gives_them(name: str) -> None:
    for upstream in (OPENAI, GATEWAY, COMPATIBLE):
        check_model_name(name, upstream)


def test_a_deployment_may_be_called_as_an_openai_model_where_nothing_is_openais() -> None:
    check_model_name("GPT-4o", COMPATIBLE)
    for upstream in (OPENAI, GATEWAY):
        with pytest.raises(ModelNotFound):
            check_model_name("GPT-4o", upstream)


@pytest.mark.parametrize(
    ("name", "at_gateway"),
    [
        ("gpt-4o-mini", True),
        ("gpt-4", True),
        ("gpt-5.2", True),
        ("openai/o3", True),
        ("gpt-4all-13b", False),
        ("somebody/gpt-4-like", False),
    ],
)
def test_openais_names_have_openais_vocabulary_behind_a_gateway(
    name: str, *, at_gateway: bool
) -> None:
    assert model_for(name).encoding is not None
    assert (model_for(name, GATEWAY).encoding is not None) is at_gateway
    assert model_for(name, COMPATIBLE).encoding is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt-4o-mini ",
        "GPT-4O-MINI",
        "gpt-4o-mini\x00",
        "gpt-4o-mini\n",
        "gpt-4o-\u043cini",
        "../files/file-abc",
        "a/../b",
        "a\\..\\b",
        " gpt-4o",
        "llama\u200b3",
        "llama3\x00",
        "llama\u202e3",
        "gpt-4o\u200b",
        "gpt-4\u043e",
        "\uff47pt-4o",
        "Ft:gpt-4o-mini:other::abc",
        "FT:gpt-4o-mini:other::abc",
        "m" * 1_000,
    ],
)
def test_names_that_two_programs_may_read_differently_do_not_exist(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        check_model_name(name)
    assert caught.value.message.isprintable()
    assert caught.value.message.isascii()
    assert len(caught.value.message) < 250
    assert caught.value.param == "model"
