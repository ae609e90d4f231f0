"""Echo servers, which the tests of one file share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.echo_server import QuickProtocol, Served
from tokenbalance.wire.server.protocol import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    server = Served(QuickProtocol)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def patient() -> Iterator[Served]:
    """With the timeouts of the product."""
    server = Served(HttpProtocol)
    yield server
    server.stop()
