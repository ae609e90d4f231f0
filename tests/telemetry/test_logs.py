"""Log lines: when they are written, and that none is lost."""

from __future__ import annotations

import asyncio
import logging
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from tokenbalance.telemetry.logs import LineHandler

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def written() -> StringIO:
    return StringIO()


@pytest.fixture
def logger(written: StringIO) -> Iterator[logging.Logger]:
    logger = logging.getLogger("lines")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = LineHandler()
    _ = handler.setStream(written)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


async def test_lines_of_one_turn_of_the_loop_are_written_together_and_soon(
    logger: logging.Logger, written: StringIO
) -> None:
    logger.info("one")
    logger.info("two")
    assert not written.getvalue()
    await asyncio.sleep(0)
    assert written.getvalue() == "one\ntwo\n"


async def test_a_warning_is_written_at_once_with_all_before_it(
    logger: logging.Logger, written: StringIO
) -> None:
    logger.info("one")
    logger.warning("two")
    assert written.getvalue() == "one\ntwo\n"


def test_where_no_loop_runs_every_line_is_written_at_once(
    logger: logging.Logger, written: StringIO
) -> None:
    logger.info("one")
    assert written.getvalue() == "one\n"


async def test_what_threads_log_is_written_too(logger: logging.Logger, written: StringIO) -> None:
    logger.info("loop")
    await asyncio.to_thread(logger.info, "thread")
    await asyncio.sleep(0)
    assert sorted(written.getvalue().split()) == ["loop", "thread"]
