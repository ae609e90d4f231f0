"""Whose fault an upstream's error is, from its status and its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recordings import recordings
from tokenbalance.openai.failure import document_in_our_words, events_in_our_words, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "gpt-5"
QUOTA = "You exceeded your current quota, please check your plan and billing details."
NO_ACCESS = "Project `proj_EXAMPLE123` does not have access to model `gpt-5`"


def envelope(message: str = "No.", **members: Any) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return orjson.dumps({"error": {**error, **members}})


def code_of(status: int, body: bytes) -> str | None:
    """The code that a caller gets; None if the error passes unchanged."""
    verdict = judge(status, body, MODEL)
    if verdict is None:
        return None
    ours = verdict.error.message
    assert not any(name in ours for name in ("proj_", "org-", "sk-", "192.0.2.7"))
    return verdict.error.code


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, envelope(NO_ACCESS, code="model_not_found")),
        (403, envelope(NO_ACCESS)),
        (403, envelope("You do not have access to model: gpt-5", code="permission_denied")),
        (403, envelope("Not permitted.", param="model")),
        (403, envelope("You are not allowed to sample from this model")),
        (403, envelope("Your organization must be verified to use the model `gpt-image-1`.")),
        (404, envelope("The model `gpt-5` does not exist or you do not have access to it.")),
        (404, envelope("The model 'ft:123' does not exist", param="model", code="model_not_found")),
        (404, envelope("The model `gpt-3.5` has been deprecated", code="model_not_found")),
        # What servers that are not OpenAI write.
        (404, envelope("The model `x` does not exist.", type="NotFoundError", code=404)),
        (404, b'{"object":"error","message":"The model `x` does not exist.","code":404}'),
        (404, b'{"error":"model \'x\' not found, try pulling it first"}'),
        (404, envelope("The API deployment does not exist.", code="DeploymentNotFound")),
    ],
)
def test_an_error_about_a_model_says_that_it_is_not_to_be_had(status: int, body: bytes) -> None:
    assert code_of(status, body) == "model_not_found"
    verdict = judge(status, body, MODEL)
    assert verdict is not None
    assert (verdict.error.status, verdict.error.param) == (404, "model")
    assert "`gpt-5`" in verdict.error.message


@pytest.mark.parametrize("model", [None, "x" * 101, "a\nb"])
def test_a_model_is_named_only_where_it_can_be_shown(model: str | None) -> None:
    verdict = judge(404, envelope(code="model_not_found"), model)
    assert verdict is not None
    assert verdict.error.message.startswith("The model does not exist")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, envelope(QUOTA, type="insufficient_quota", code="insufficient_quota")),
        (429, envelope(QUOTA, type="insufficient_quota")),
        (429, envelope(type="billing_not_active", code="billing_not_active")),
        (429, envelope(type="access_terminated", code="access_terminated")),
        (429, envelope(code="credit_balance_exhausted")),
        (429, envelope(code="organization_spend_limit_exceeded")),
        (429, envelope(code="project_spend_limit_exceeded")),
        (429, envelope(code="organization_usage_limit_exceeded")),
        (400, envelope(type="billing_limit_user_error", code="billing_hard_limit_reached")),
        (403, envelope(type="new_api_error", code="insufficient_user_quota")),
        (402, envelope("Insufficient Balance", type="unknown_error")),
        (402, b""),
        (402, b"<html>"),
    ],
)
def test_a_lack_of_money_is_the_operators_only(status: int, body: bytes) -> None:
    assert code_of(status, body) == "upstream_quota"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, envelope("Incorrect API key provided: sk-1***9.", code="invalid_api_key")),
        (401, envelope("deactivated", code="account_deactivated")),
        (401, b""),
        (401, b"\xff\xfe"),
        (403, envelope("You have insufficient permissions for this operation. Missing scopes: x")),
        (403, envelope("key sk-123456 is wrong")),
        (403, envelope(code="insufficient_permissions")),
        (403, envelope("Your IP address 192.0.2.7 is not allowed", code="ip_not_authorized")),
        (403, b""),
        (403, b"<html><body>You have been blocked. Your IP: 192.0.2.7</body></html>"),
        (403, b'{"error":{}}'),
        (403, b"[]"),
    ],
)
def test_a_key_that_is_refused_is_the_operators(status: int, body: bytes) -> None:
    assert code_of(status, body) == "upstream_auth"


@pytest.mark.parametrize(
    "message",
    [
        "Project proj_abcdef0 is archived",
        "org-AbCdEf12 may not do this",
        "Not for user-AbCdEfGh12345678",
        "Blocked at 192.0.2.7",
    ],
)
def test_a_403_that_names_ids_of_the_operator_gets_our_message(message: str) -> None:
    assert code_of(403, envelope(message)) == "permission_denied"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            403,
            envelope(
                "Country, region, or territory not supported",
                type="request_forbidden",
                code="unsupported_country_region_territory",
            ),
        ),
        (403, envelope("This user-generated content is against the policy.", code="cyber_policy")),
        (403, envelope("You are not allowed to request logprobs from this model.")),
        (404, envelope("This is not a chat model. Did you mean v1/completions?", param="model")),
        (404, envelope("Item with id 'msg_1' not found.", param="input")),
        (404, envelope("Invalid URL (POST /v1/nothing)")),
        (404, b""),
        (429, envelope("Rate limit reached", type="tokens", code="rate_limit_exceeded")),
        (429, envelope("Busy.", type="rate_limit_error", code="balance_held")),
        (429, envelope("Slow down.", code="slow_down")),
        (429, b""),
        (400, envelope("The requested model 'x' does not exist.", code="model_not_found")),
        (400, envelope(code="context_length_exceeded")),
        (500, envelope("The server had an error", type="server_error")),
        (503, b"overloaded"),
        (302, envelope(code="insufficient_quota")),
    ],
)
def test_what_is_about_the_request_passes_as_it_came(status: int, body: bytes) -> None:
    assert code_of(status, body) is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (envelope(code="billing_not_active"), "billing_not_active"),
        (envelope(type="insufficient_quota"), "insufficient_quota"),
        (envelope(code="sk-SECRET1", type="sk-SECRET2"), ""),
        (b"", ""),
    ],
)
def test_a_log_gets_the_upstreams_code_and_no_other_text(body: bytes, code: str) -> None:
    verdict = judge(402, body, MODEL)
    assert verdict is not None
    assert verdict.code == code


def test_a_long_message_is_judged_by_its_beginning_and_at_once() -> None:
    assert code_of(403, envelope("model " * 10_000)) is None
    assert code_of(403, envelope(NO_ACCESS + " model" * 10_000)) == "model_not_found"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "message", "param", "response", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([301, 400, 401, 402, 403, 404, 429, 500]))
def test_no_body_is_too_strange_to_be_judged(value: Any, status: int) -> None:
    body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if _is_writable(value) else b"{"
    _ = judge(status, body, MODEL)
    _ = document_in_our_words(body, MODEL)
    _ = events_in_our_words(b"event: error\ndata: " + body + b"\n\n", MODEL)


def _is_writable(value: Any) -> bool:
    try:
        _ = orjson.dumps(value)
    except TypeError:
        return False
    return True


# --- errors inside a 2xx


def data(document: dict[str, Any], *, name: str = "", end: str = "\n") -> bytes:
    named = f"event: {name}{end}" if name else ""
    return f"{named}data: {orjson.dumps(document).decode()}{end}{end}".encode()


def documents_of(events: bytes) -> Iterator[dict[str, Any]]:
    for line in events.splitlines():
        if line.startswith(b"data: {"):
            yield orjson.loads(line.removeprefix(b"data: "))


FAILED: dict[str, Any] = {
    "type": "response.failed",
    "sequence_number": 3,
    "response": {
        "id": "resp_1",
        "status": "failed",
        "error": {"code": "insufficient_quota", "message": QUOTA},
        "usage": None,
        "metadata": {"insufficient_quota": QUOTA},
    },
}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_of_a_failed_stream_only_the_words_of_the_error_are_ours(end: str) -> None:
    done = f"data: [DONE]{end}{end}".encode()
    events = f": alive{end}".encode() + data(FAILED, name="response.failed", end=end) + done
    reworded = events_in_our_words(events, MODEL)
    assert reworded is not None
    assert reworded.body.endswith(done)
    assert reworded.body.startswith(f": alive{end}event: response.failed{end}data: ".encode())
    (document,) = documents_of(reworded.body)
    error = document["response"]["error"]
    assert error["code"] == "upstream_quota"
    assert "not your balance" in error["message"]
    assert set(error) == {"code", "message"}
    document["response"]["error"] = FAILED["response"]["error"]
    assert document == FAILED
    assert reworded.verdict.code == "insufficient_quota"


def test_every_shape_that_an_error_has_in_a_stream_is_known() -> None:
    in_an_envelope = {"error": {"message": QUOTA, "type": "insufficient_quota", "code": None}}
    by_itself = {"type": "error", "code": "insufficient_quota", "message": QUOTA, "param": None}
    by_its_name = {"code": "insufficient_quota", "message": QUOTA}
    for events, kind in (
        (data(in_an_envelope), "upstream_error"),
        (data(by_itself), "error"),
        (data(by_its_name, name="error"), None),
        (data(by_itself).removesuffix(b"\n\n"), "error"),
    ):
        reworded = events_in_our_words(events, MODEL)
        assert reworded is not None, events
        (document,) = documents_of(reworded.body)
        error = document.get("error", document)
        assert error["code"] == "upstream_quota"
        assert error.get("type") == kind
        assert QUOTA not in reworded.body.decode()


def test_data_of_several_lines_becomes_one() -> None:
    events = b'data: {"error":\ndata: {"code": "insufficient_quota"}}\nid: 1\n\n'
    reworded = events_in_our_words(events, MODEL)
    assert reworded is not None
    (document,) = documents_of(reworded.body)
    assert document["error"]["code"] == "upstream_quota"
    assert reworded.body.endswith(b"}\nid: 1\n\n")


@pytest.mark.parametrize(
    "events",
    [
        data({"error": {"message": "overloaded", "type": "server_error", "code": None}}),
        data({"type": "error", "code": "rate_limit_exceeded", "message": "slower"}),
        data({"type": "response.x.done", "code": "insufficient_quota", "message": "a program's"}),
        data({"type": "response.completed", "response": {"error": None}}),
        data({"type": "error", "code": "authentication_error", "message": "a server of tools"}),
        b"data: [DONE]\n\n",
        b"data: no json\n\n",
        b"",
    ],
)
def test_other_events_stay_as_they_came(events: bytes) -> None:
    assert events_in_our_words(events, MODEL) is None


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("insufficient_quota", "upstream_quota"),
        ("invalid_api_key", "upstream_auth"),
        ("model_not_found", "model_not_found"),
    ],
)
def test_a_document_with_an_error_gets_our_message(code: str, ours: str) -> None:
    reworded = document_in_our_words(envelope(NO_ACCESS, code=code), MODEL)
    assert reworded is not None
    error = orjson.loads(reworded.body)["error"]
    assert error["code"] == ours
    assert "proj_" not in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        envelope("overloaded", type="server_error"),
        b'{"output":[{"error":{"code":"insufficient_quota"}}],"error":null}',
        b'{"choices":[{"message":{"content":"{\\"error\\":{\\"code\\":\\"quota_exceeded\\"}}"}}]}',
        b'{"error": {"code": "insufficient_quota"}',
        b"",
    ],
)
def test_a_document_without_one_stays_as_it_came(body: bytes) -> None:
    assert document_in_our_words(body, MODEL) is None


def test_only_recorded_errors_about_models_and_keys_get_our_message() -> None:
    ours = {
        (recording.status, code_of(recording.status, recording.response_body))
        for recording in recordings()
        if recording.status >= 400
    }
    assert {(400, None), (404, "model_not_found")} <= ours
    assert ours <= {
        *((400, None), (401, "upstream_auth"), (404, "model_not_found"), (404, None)),
        *((429, None), (500, None)),
    }
    for recording in recordings():
        if recording.status == 200 and not recording.streamed:
            assert document_in_our_words(recording.response_body, MODEL) is None
