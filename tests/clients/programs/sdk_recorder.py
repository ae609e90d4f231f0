"""A plugin of pytest for the SDK's own tests: notes every request, and what a GET returned.

Loaded with `-p sdk_recorder`; writes lines of JSON to files that begin as `SDK_RECORD` says, one
for each process. What is in them is adopted for the account that repeats the tests.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx2

_SMALL_BYTES = 60_000
_send, _async_send = httpx2.Client.send, httpx2.AsyncClient.send


def _note(request: Any, response: Any) -> None:
    try:
        body = request.read().decode("utf-8", "replace")
    except Exception:  # noqa: BLE001 - a body that cannot be read again has no ids that matter
        body = ""
    shown = ""
    if request.method == "GET" and response.is_success and response.is_stream_consumed:
        shown = response.text
    line = {
        "method": request.method,
        "target": request.url.raw_path.decode(),
        "type": request.headers.get("content-type", ""),
        "body": body if len(body) < _SMALL_BYTES else "",
        "shown": shown if len(shown) < _SMALL_BYTES else "",
    }
    with Path(f"{os.environ['SDK_RECORD']}.{os.getpid()}").open("a", encoding="utf-8") as record:
        record.write(json.dumps(line) + "\n")


def _noting(client: Any, request: Any, **options: Any) -> Any:
    response = _send(client, request, **options)
    _note(request, response)
    return response


async def _noting_async(client: Any, request: Any, **options: Any) -> Any:
    response = await _async_send(client, request, **options)
    _note(request, response)
    return response


if "SDK_RECORD" in os.environ:
    httpx2.Client.send = _noting
    httpx2.AsyncClient.send = _noting_async
