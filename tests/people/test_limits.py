"""Which limits there are, which values are valid, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from tokenbalance.model.limits import COUNTED, ENDPOINT_GROUPS
from tokenbalance.openai import SURFACE
from tokenbalance.people.end_users import clean_source, limits_of_each
from tokenbalance.people.limit_text import read_limits, read_setting, written
from tokenbalance.people.limits import LIMIT_MAX, LIMITS, InvalidLimit, KeyLimits

NUMBERS = (*COUNTED, "credits_per_request")
LISTS = ("models", "endpoints", "addresses", "service_tiers", "tools")


def test_limits_are_written_and_read_again() -> None:
    limits = KeyLimits(requests_per_minute=1, credits_total=LIMIT_MAX, models=("gpt-4o-*", "o3"))

    document = limits.as_document()

    assert document == {
        "requests_per_minute": 1,
        "credits_total": LIMIT_MAX,
        "models": ["gpt-4o-*", "o3"],
    }
    assert KeyLimits.from_document(document) == KeyLimits.stored(document) == limits
    assert KeyLimits().as_document() == {}
    assert KeyLimits.from_document(dict.fromkeys(LIMITS)) == KeyLimits()
    assert sorted(LIMITS) == sorted((*NUMBERS, *LISTS))


def test_what_is_stored_is_read_whatever_else_is_stored_with_it() -> None:
    assert KeyLimits.stored({"tokens_per_day": 5, "bounds": {}, "later": [1]}) == KeyLimits(
        tokens_per_day=5
    )


@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, LIMIT_MAX + 1, 10**30, True, 1.0, "1", [1]])
def test_a_number_that_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidLimit) as refusal:
        KeyLimits.from_document({field: value})
    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    "value",
    [
        *([], "gpt-4o", 1, {}, [""], ["a b"], ["a\0"], ["\ud800"], [1], ["x" * 201], ["x"] * 101),
        *(["!"], ["!!x", "*"], ["!gpt-5*"], ["!o3", "!o4"]),
        *(["gpt-*", "!gpt-5*"], ["*", "!o3"], ["o3", "!o3", "*"]),
    ],
)
def test_models_that_make_no_sense_are_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidLimit, match=r"^models: "):
        KeyLimits.from_document({"models": value})


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize("value", ["chat", 5, [5], [None], ["X Y"], ["é\n"], ["a"] * 101])
def test_a_list_that_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidLimit) as refusal:
        KeyLimits.from_document({field: value})
    assert refusal.value.field == field
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("field", LISTS)
def test_only_of_tools_none_may_be_allowed(field: str) -> None:
    if field == "tools":
        assert KeyLimits.from_document({"tools": []}).tools == ()
        return
    with pytest.raises(InvalidLimit):
        KeyLimits.from_document({field: []})


def test_an_unknown_limit_is_refused_by_name() -> None:
    with pytest.raises(InvalidLimit, match=r"^requests_per_day: is not a known limit") as refusal:
        KeyLimits.from_document({"requests_per_day": 1})
    assert refusal.value.field == "requests_per_day"


def test_groups_of_endpoints_are_the_first_segments_of_the_paths_of_operations() -> None:
    segments = {operation.path.split("?")[0].split("/")[1] for operation in SURFACE.operations}
    assert sorted(segments) == list(ENDPOINT_GROUPS)


@pytest.mark.parametrize(
    ("written_as", "address"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("2001:DB8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::/0", "::/0"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_addresses_are_networks_in_one_form(written_as: str, address: str) -> None:
    limits = KeyLimits.from_document({"addresses": [written_as, address]})
    assert limits.addresses == (address,)


@pytest.mark.parametrize(
    "address", ["192.0.2.7/24", "192.0.2", "host", "fe80::1%eth0", "10.0.0.0/33", "", "1/8"]
)
def test_an_address_that_is_none_is_refused_by_name(address: str) -> None:
    with pytest.raises(InvalidLimit, match=r"^addresses: "):
        KeyLimits.from_document({"addresses": [address]})


def test_limits_are_read_as_commands_and_settings_write_them() -> None:
    texts = ["credits_per_day=1_000", "models=!gpt-5* | gpt-*", "tools=[]", "tokens_per_day=None"]
    limits = read_limits(texts)
    assert limits == {
        "credits_per_day": 1000,
        "models": ("!gpt-5*", "gpt-*"),
        "tools": (),
        "tokens_per_day": None,
    }
    again = [f"{name}={written(value)}" for name, value in limits.items()]
    assert read_limits(again) == limits
    assert read_setting(" credits_per_day=5, endpoints=chat|files ,") == KeyLimits(
        credits_per_day=5, endpoints=("chat", "files")
    )
    assert read_setting("") == KeyLimits()
    assert read_limits(["models=null"]) == {"models": None}, "as errors call it"


@pytest.mark.parametrize(
    "text", ["x=1", "credits_per_day", "credits_per_day=", "credits_per_day=1.5", "models=", "=1"]
)
def test_a_limit_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidLimit):
        read_limits([text])
    with pytest.raises(InvalidLimit, match="twice"):
        read_limits(["credits_per_day=1", "credits_per_day=2"])


@pytest.mark.parametrize(
    ("source", "clean"),
    [
        (None, None),
        ("user", "user"),
        ("safety_identifier", "safety_identifier"),
        ("Header:X-OpenWebUI-User-Email", "header:x-openwebui-user-email"),
    ],
)
def test_end_users_are_named_in_a_field_or_a_header(source: str | None, clean: str | None) -> None:
    assert clean_source(source) == clean


@pytest.mark.parametrize(
    "source", ["", "email", "header:", "header:a b", "header:Authorization", "header:é", "header"]
)
def test_end_users_are_named_nowhere_else(source: str) -> None:
    with pytest.raises(InvalidLimit, match=r"^sub_account_from: must be 'user'"):
        clean_source(source)


def test_limits_of_end_users_are_limits_whose_mistakes_name_their_field() -> None:
    limits = {"credits_per_day": 5, "models": ["o3"]}
    assert limits_of_each(limits) == KeyLimits(credits_per_day=5, models=("o3",))
    wrong: dict[str, object] = {"credits_per_day": 0, "models": "o3", "x": 1}
    for name, value in wrong.items():
        with pytest.raises(InvalidLimit, match=f"^sub_account_limits: {name}: "):
            limits_of_each({name: value})
