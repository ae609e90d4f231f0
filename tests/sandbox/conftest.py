"""The sandbox on a socket, and its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import openai
import pytest

from tokenbalance.sandbox.serving import Sandbox, serve_in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with serve_in_thread() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def client(sandbox: Sandbox) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sandbox.base_url, api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx2.Client]:
    headers = {"authorization": "Bearer any"}
    with httpx2.Client(base_url=sandbox.base_url, headers=headers) as http:
        yield http
