"""Numbers and switches of a form are those of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tokenbalance.errors import InvalidType
from tokenbalance.openai.spelled_out import as_document

if TYPE_CHECKING:
    from tokenbalance.model import Document, Json

SWITCHES, NUMBERS = ("stream",), ("n",)


def test_what_is_spelled_out_is_read_and_the_rest_is_text() -> None:
    fields: Document = {"n": "2", "stream": "true", "size": "1024", "image": ["a"]}
    read = as_document(fields, SWITCHES, NUMBERS)
    assert read == {"n": 2, "stream": True, "size": "1024", "image": ["a"]}
    assert as_document({"n": "-1", "stream": "False"}, SWITCHES, NUMBERS) == {
        "n": -1,
        "stream": False,
    }
    assert as_document({}, SWITCHES, NUMBERS) == {}
    assert fields["n"] == "2"


@pytest.mark.parametrize("value", ["", " 2", "2.0", "+2", "\N{ARABIC-INDIC DIGIT TWO}", "2_0", "x"])
def test_a_number_that_servers_could_read_differently_is_refused(value: str) -> None:
    with pytest.raises(InvalidType) as refused:
        _ = as_document({"n": value}, SWITCHES, NUMBERS)
    assert refused.value.param == "n"


@pytest.mark.parametrize("value", ["", "yes", "on", "TRUE", "t", "2"])
def test_a_switch_that_servers_could_read_differently_is_refused(value: str) -> None:
    with pytest.raises(InvalidType) as refused:
        _ = as_document({"stream": value}, SWITCHES, NUMBERS)
    assert refused.value.param == "stream"


@pytest.mark.parametrize("name", ["n", "stream"])
def test_a_list_or_a_file_in_its_place_is_refused(name: str) -> None:
    values: list[Json] = [["1"], {"size": 1}]
    for value in values:
        with pytest.raises(InvalidType):
            _ = as_document({name: value}, SWITCHES, NUMBERS)
