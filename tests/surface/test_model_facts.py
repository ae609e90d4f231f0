"""The file of model facts, the operator's own, and what bounds a model that is in neither."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.books import create_holder
from tests.support.chat import MESSAGES
from tests.support.product import serving
from tokenbalance.model import OPENAI, UpstreamTraits
from tokenbalance.openai.tokens.model_facts import LARGEST, ModelFactsError, read_models
from tokenbalance.openai.tokens.models import model_for, shipped_models
from tokenbalance.openai.tokens.vocabularies import CL100K, O200K
from tokenbalance.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

OWN = """
as_of = 2026-11-30

[[models]]
names = ["gpt-5", "gpt-7"]
context = 500_000
maximum_output = 60_000

[[models]]
names = ["Qwen/Qwen3"]
context = 40_960
maximum_output = 32_768
reasoning = false
"""


def own(text: str, *, is_openai: bool = True) -> UpstreamTraits:
    return UpstreamTraits(is_openai=is_openai, own_models=read_models(text))


def test_a_limit_that_a_row_leaves_out_is_the_largest_of_any_row() -> None:
    models = [row.model for row in shipped_models()]
    assert LARGEST.context == max(model.context for model in models)
    assert LARGEST.maximum_output == max(model.maximum_output for model in models)
    assert LARGEST.image.low == max(model.image.low for model in models)
    assert LARGEST.image.high == max(model.image.high for model in models)
    (row,) = read_models('[[models]]\nnames = ["a"]\n')
    assert row.model == LARGEST


def test_no_row_of_the_package_lets_a_model_write_more_than_its_context() -> None:
    for row in shipped_models():
        assert row.model.maximum_output <= row.model.context, row.name
        assert row.model.image.low <= row.model.image.high, row.name
        assert row.model.encoding in {O200K, CL100K}, row.name
    assert len({row.name for row in shipped_models()}) == len(shipped_models())


def test_retirements_are_those_of_the_row_with_the_longest_name() -> None:
    retires = {row.name: row.retires for row in shipped_models()}
    assert retires["gpt-5"] == date(2026, 12, 11)
    assert retires["gpt-5-codex"] == date(2026, 7, 23)
    assert retires["gpt-5."] is None


def test_a_row_of_the_operators_replaces_the_row_of_its_name_and_no_other() -> None:
    upstream = own(OWN)
    assert (model_for("gpt-5", upstream).context, model_for("gpt-5").context) == (500_000, 400_000)
    assert model_for("gpt-5-2025-08-07", upstream).maximum_output == 60_000
    for name in ("gpt-5-mini", "gpt-5.5", "gpt-4o"):
        assert model_for(name, upstream) == model_for(name)
    new = model_for("gpt-7-sol", upstream)
    assert (new.maximum_output, new.encoding, new.image) == (60_000, O200K, LARGEST.image)
    assert model_for("ft:gpt-7:org::1", upstream) == new


@pytest.mark.parametrize("knows_openai_models", [True, False])
def test_a_row_of_the_operators_holds_at_every_upstream(*, knows_openai_models: bool) -> None:
    upstream = UpstreamTraits(
        is_openai=False,
        knows_openai_models=knows_openai_models,
        own_models=read_models(OWN),
    )
    model = model_for("Qwen/Qwen3-8B", upstream)
    assert (model.context, model.maximum_output) == (40_960, 32_768)
    # Its text is bounded by bytes, and its server has defaults of its own.
    assert model.is_foreign
    assert model_for("Qwen/Qwen2", upstream) == model_for("other", upstream)
    counted = model_for(
        "a-1", own(f'[[models]]\nnames = ["a"]\nencoding = "{O200K}"', is_openai=False)
    )
    assert counted.encoding == O200K


def test_traits_with_rows_are_looked_up_as_fast_as_those_without() -> None:
    upstream = own(OWN)
    assert hash(upstream) == hash(OPENAI)
    assert upstream != OPENAI
    assert model_for("gpt-5", upstream) is model_for("gpt-5", upstream)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = 3", "models: must be tables, each with the header [[models]]"),
        ("version = 1", "version is not a field of this file"),
        ('as_of = "today"', "as_of: must be a date, such as 2026-11-30"),
        ("[[models]]\ncontext = 1", "line 1: models[0].names: must be a list of beginnings"),
        ("[[models]]\nnames = [3]", "line 1: models[0].names: must be a list of beginnings"),
        ('[[models]]\nnames = [""]', "line 1: models[0] ().names: must be a list of beginnings"),
        ("[[models]]\nnames = [", "line 2: Invalid value"),
        ('[[models]]\nnames = ["a"]\nkontext = 1', "line 1: models[0] (a).kontext is not a field"),
        (
            '[[models]]\nnames = ["a"]\n\n[[models]]\nnames = ["b"]\ncontext = 0',
            "line 4: models[1] (b).context: must be an integer from 1 to 100000000",
        ),
        (
            '[[models]]\nnames = ["a"]\nmaximum_output = true',
            "line 1: models[0] (a).maximum_output: must be an integer",
        ),
        (
            '[[models]]\nnames = ["a"]\nencoding = "p50k_base"',
            "line 1: models[0] (a).encoding: must be one of o200k_base, cl100k_base, or left out",
        ),
        (
            '[[models]]\nnames = ["a"]\nreasoning = 1',
            "line 1: models[0] (a).reasoning: must be true or false",
        ),
        (
            '[[models]]\nnames = ["a"]\nretires = 2027-01-14T00:00:00',
            "line 1: models[0] (a).retires: must be a date, such as 2027-01-14",
        ),
        (
            '[[models]]\nnames = ["a"]\n[[models]]\nnames = ["b", "a"]',
            "line 3: models[1].names: a has a row already",
        ),
        ('models = [{names = ["a"], context = -1}]', "models[0] (a).context: must be an integer"),
        ("models = [3]", "models[0]: must be a table"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ModelFactsError) as caught:
        read_models(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_settings_carry_the_rows_or_name_what_is_wrong_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings().upstream_traits.own_models == ()
    monkeypatch.setenv("TOKENBALANCE_MODELS", "models.toml")
    with pytest.raises(
        SettingsError, match=r"^TOKENBALANCE_MODELS: cannot be read \(FileNotFoundError\)$"
    ):
        load_settings()
    file = tmp_path / "models.toml"
    file.write_text(OWN)
    assert len(load_settings().upstream_traits.own_models) == 3
    file.write_text(OWN.replace("40_960", "-1"))
    with pytest.raises(SettingsError) as error:
        load_settings()
    assert str(error.value) == (
        "TOKENBALANCE_MODELS: line 9: models[1] (Qwen/Qwen3).context:"
        " must be an integer from 1 to 100000000"
    )


async def test_a_running_server_holds_what_the_operators_file_says(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    holder = await create_holder(pool, 1_000_000)
    file = tmp_path / "models.toml"
    file.write_text(OWN)
    body = {"model": "gpt-7-sol", "messages": MESSAGES}
    held: list[int] = []
    for settings in ({}, {"models": file}):
        async with (
            serving(dsn, upstream.base_url, **settings) as url,
            httpx2.AsyncClient() as client,
        ):
            response = await client.post(
                f"{url}/v1/chat/completions", json=body, headers=holder.headers
            )
            held.append(int(response.headers["x-tokenbalance-hold"]))
    assert held[0] - held[1] == LARGEST.maximum_output - 60_000
    assert [request.json() for request in upstream.requests] == [body, body]
