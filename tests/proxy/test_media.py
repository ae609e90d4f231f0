"""Images, audio and other requests that are not text: what is held, and what is charged.

One table: a request, what the upstream responds, and what it costs without a card and with one. The
hold covers the charge in every case, and the books prove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from tests.support.books import charges_of, create_holder
from tests.support.rate_cards import priced, written
from tests.support.upstream import Response, event_stream, json_response
from tokenbalance.books.ledger.audit import audit

if TYPE_CHECKING:
    from pathlib import Path

    import httpx2

    from tests.support.books import Holder
    from tests.support.upstream import ScriptedUpstream
    from tokenbalance.database.connections import Pool

CARD: Final = """
version = 2

[[models]]
match = ["gpt-image-*"]
input = 5
image_input = 8
output = 10
image_output = 30

[[models]]
match = "dall-e-*"
image = 40000

[[models]]
match = "gpt-4o-mini-tts"
input = 0.5
output = 12

[[models]]
match = "tts-1"
character = 15

[[models]]
match = "gpt-5.4-mini"
input = 0.25
output = 2

[[models]]
match = "gpt-6-luna"
input = 1
output = 4

[[models]]
match = "file_search"
calls = { file_search = 2500 }

[[models]]
match = ["code_interpreter", "voice"]
calls = { code_interpreter = 30000, voice = 100 }
"""
RICH: Final = 10**9
IMAGE: Final = {"b64_json": "iVBORw0KGgo" * 4}
TEXT: Final = "Hello, world! How are you?"


def document(value: Any) -> Response:
    return json_response(value)


def image_usage(inputs: int, outputs: int, **details: Any) -> dict[str, Any]:
    return {
        "input_tokens": inputs,
        "output_tokens": outputs,
        "total_tokens": inputs + outputs,
        "input_tokens_details": {"text_tokens": inputs, "image_tokens": 0},
        **details,
    }


def events(*documents: dict[str, Any]) -> Response:
    return event_stream(
        *(
            b"event: " + one["type"].encode() + b"\ndata: " + orjson.dumps(one) + b"\n\n"
            for one in documents
        )
    )


def drawn(kind: str, usage: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The events of one image."""
    picture = {"size": "1024x1024", "quality": "low", "b64_json": "A" * 3_000}
    more = {} if usage is None else {"usage": usage}
    return [
        {"type": f"{kind}.partial_image", "partial_image_index": 0, **picture},
        {"type": f"{kind}.completed", **picture, **more},
    ]


@dataclass(frozen=True)
class Case:
    """One request, and what it costs."""

    name: str
    path: str
    body: dict[str, Any]
    response: Response
    plain: int | None
    """Credits without a card; None: it is refused."""
    carded: int | None
    """Credits with the card above; None: it is refused."""
    estimated: bool = False


PROMPT: Final = {"model": "gpt-image-1.5", "prompt": "A cat", "quality": "low", "size": "1024x1024"}
SPOKEN: Final = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": TEXT}
ANSWERED: Final = {"answers": [{"type": "predicate", "probability": 0.5}], "model": "gpt-6-luna"}
GRADED: Final[dict[str, Any]] = {
    "reward": 1.0,
    "metadata": {"errors": {}, "token_usage": 130, "scores": {}, "name": "n", "type": "t"},
    "model_grader_token_usage_per_model": {
        "gpt-5.4-mini": {"prompt_tokens": 120, "completion_tokens": 10}
    },
    "sub_rewards": {},
}
SPLIT: Final = {"output_tokens_details": {"text_tokens": 20, "image_tokens": 272}}
CASES: Final = (
    Case(
        "an image",
        "/images/generations",
        PROMPT,
        document({"data": [IMAGE], "usage": image_usage(12, 292, **SPLIT)}),
        304,
        12 * 5 + 272 * 30 + 20 * 10,
    ),
    Case(
        "an image whose output is not divided",
        "/images/generations",
        PROMPT,
        document({"data": [IMAGE], "usage": image_usage(12, 272)}),
        284,
        12 * 5 + 272 * 30,
    ),
    Case(
        "an SVG with its author",
        "/images/generations",
        {**PROMPT, "output_format": "svg", "svg": {"model": "gpt-5.4-mini"}},
        document(
            {
                "data": [IMAGE],
                "svg_usage": {
                    "input_tokens": 100,
                    "output_tokens": 400,
                    "reasoning_tokens": 50,
                    "total_tokens": 500,
                    "model": "gpt-5.4-mini",
                },
                "usage": image_usage(12, 272),
            }
        ),
        784,
        12 * 5 + 272 * 30 + 25 + 800,
    ),
    Case(
        "two images that are streamed, each with its usage",
        "/images/generations",
        {**PROMPT, "stream": True, "n": 2, "partial_images": 1},
        events(
            *drawn("image_generation", image_usage(12, 372)),
            *drawn("image_generation", image_usage(12, 372)),
        ),
        768,
        2 * (12 * 5 + 372 * 30),
    ),
    Case(
        "an edit of an image that is named by its URL",
        "/images/edits",
        {**PROMPT, "images": [{"image_url": "https://example.com/cat.png"}]},
        document(
            {
                "data": [IMAGE],
                "usage": {
                    **image_usage(212, 272),
                    "input_tokens_details": {"text_tokens": 12, "image_tokens": 200},
                },
            }
        ),
        484,
        12 * 5 + 200 * 8 + 272 * 30,
    ),
    Case(
        "a model that is billed by the image",
        "/images/generations",
        {"model": "dall-e-3", "prompt": "A cat", "n": 1, "size": "1024x1024"},
        document({"data": [{"url": "https://example.com/1.png"}]}),
        2 + 64 + 1_056,
        40_000,
        estimated=True,
    ),
    Case(
        "speech in audio",
        "/audio/speech",
        SPOKEN,
        Response(body=b"\xff\xfb\x90" * 900, headers=[("content-type", "audio/mpeg")]),
        8,
        4 + 39 * 12,
        estimated=True,
    ),
    Case(
        "speech in events",
        "/audio/speech",
        {**SPOKEN, "stream_format": "sse"},
        events(
            {"type": "speech.audio.delta", "audio": "A" * 400},
            {
                "type": "speech.audio.done",
                "usage": {"input_tokens": 9, "output_tokens": 60, "total_tokens": 69},
            },
        ),
        69,
        5 + 60 * 12,
    ),
    Case(
        "speech by the character",
        "/audio/speech",
        {**SPOKEN, "model": "tts-1"},
        Response(body=b"\xff\xfb\x90" * 900, headers=[("content-type", "audio/mpeg")]),
        8,
        len(TEXT) * 15,
        estimated=True,
    ),
    Case(
        "decisions",
        "/decisions",
        {
            "model": "gpt-6-luna",
            "input": TEXT,
            "questions": [{"type": "predicate", "instructions": "It is polite."}],
        },
        document({**ANSWERED, "usage": image_usage(30, 2)}),
        32,
        38,
    ),
    Case(
        "a grader",
        "/fine_tuning/alpha/graders/run",
        {
            "grader": {
                "type": "score_model",
                "name": "polite",
                "model": "gpt-5.4-mini",
                "input": [{"role": "user", "content": "Is it? {{sample.output_text}}"}],
                "sampling_params": {"max_completions_tokens": 64},
            },
            "model_sample": TEXT,
        },
        document(GRADED),
        130,
        30 + 20,
    ),
    Case(
        "a grader that asks no model",
        "/fine_tuning/alpha/graders/run",
        {
            "grader": {"type": "string_check", "name": "n", "input": "a", "operation": "eq"},
            "model_sample": TEXT,
        },
        document(
            {**GRADED, "metadata": {"token_usage": 0}, "model_grader_token_usage_per_model": {}}
        ),
        0,
        0,
    ),
    Case(
        "a search",
        "/vector_stores/vs_1/search",
        {"query": "return policy"},
        document({"object": "vector_store.search_results.page", "data": []}),
        2,
        2_500,
    ),
    Case(
        "a container",
        "/containers",
        {"name": "c"},
        document({"id": "cntr_1", "object": "container", "status": "running"}),
        0,
        30_000,
    ),
    Case(
        "a voice",
        "/audio/voices",
        {"name": "v", "type": "prompt", "prompt": "Deep and calm"},
        document({"id": "voice_1", "object": "audio.voice", "name": "v"}),
        None,
        100,
    ),
)


async def give_store(pool: Pool, holder: Holder) -> None:
    await pool.execute(
        "INSERT INTO objects (account_id, object_id, kind, key_id)"
        " VALUES ($1, 'vs_1', 'vector_store', $2)",
        holder.account_id,
        holder.key_id,
    )


async def run(
    http: httpx2.AsyncClient, upstream: ScriptedUpstream, holder: Holder, case: Case
) -> httpx2.Response:
    upstream.script(case.response)
    return await http.post(f"/v1{case.path}", json=case.body, headers=holder.headers)


async def check(pool: Pool, holder: Holder, case: Case, due: int) -> None:
    (charge,) = await charges_of(pool, holder)
    assert -charge["amount"] == due
    assert charge["held"] >= due
    assert (charge["overrun"], charge["estimated"]) == (0, case.estimated)
    assert charge["endpoint"] == case.path.replace("/vs_1", "/{vector_store_id}")


async def test_without_a_card_each_costs_its_tokens_or_what_they_stand_for(
    http: httpx2.AsyncClient, pool: Pool, upstream: ScriptedUpstream
) -> None:
    for case in CASES:
        holder = await create_holder(pool, RICH)
        await give_store_once(pool, holder, case)
        response = await run(http, upstream, holder, case)
        if case.plain is None:
            upstream.forget()
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (403, "endpoint_not_allowed"), case.name
            assert 'match = "voice"' in error["message"]
            continue
        assert response.status_code == 200, (case.name, response.text)
        try:
            await check(pool, holder, case, case.plain)
        except AssertionError as error:
            raise AssertionError(case.name) from error
    assert (await audit(pool)).violations == []


async def test_with_a_card_each_costs_what_the_card_says(
    dsn: str, pool: Pool, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    async with priced(dsn, upstream, written(tmp_path, CARD)) as http:
        for case in CASES:
            holder = await create_holder(pool, RICH)
            await give_store_once(pool, holder, case)
            response = await run(http, upstream, holder, case)
            assert response.status_code == 200, (case.name, response.text)
            try:
                await check(pool, holder, case, case.carded or 0)
            except AssertionError as error:
                raise AssertionError(case.name) from error
    assert (await audit(pool)).violations == []


async def give_store_once(pool: Pool, holder: Holder, case: Case) -> None:
    if "vs_1" in case.path:
        await pool.execute("DELETE FROM objects")
        await give_store(pool, holder)
