"""What is counted, under which labels, and by workers together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.values import close_all_multiprocess_files

from tokenbalance.books.pricing.units import UNITS
from tokenbalance.model import Charge, Hold, Usage
from tokenbalance.openai import OPERATIONS
from tokenbalance.owners.journal import ObjectJournal
from tokenbalance.telemetry.metrics import UNKNOWN, Metrics, Watched
from tokenbalance.telemetry.totals import Totals
from tokenbalance.telemetry.worker_files import FOLDER, give_place, shared_files

if TYPE_CHECKING:
    from tokenbalance.books.holds.leases import Leases
    from tokenbalance.telemetry.totals import BooksWatch

CHAT_200 = 'tokenbalance_requests_total{endpoint="/chat/completions",status="200"}'


class Leaseholder(list[None]):
    """As many leases as it has items."""

    ready = True


class Books:
    """Books that say what they are told to say."""

    def __init__(self, known: Totals | None) -> None:
        self._known = known

    async def totals(self) -> Totals | None:
        return self._known


def made(holds: int = 0, totals: Totals | None = None, *, notes: bool = True) -> Metrics:
    objects = ObjectJournal(Path("nowhere"))
    if notes:
        objects.open("books")
    leases = cast("Leases", cast("object", Leaseholder([None] * holds)))
    books = cast("BooksWatch", cast("object", Books(totals)))
    return Metrics(Watched(leases, [None, None], (), objects), books)


async def values_of(metrics: Metrics) -> dict[str, float]:
    return values_in((await metrics.page()).decode())


def values_in(page: str) -> dict[str, float]:
    """Every sample of a page, by its name and labels."""
    return {
        sample.name
        + (
            "{" + ",".join(f'{name}="{text}"' for name, text in sample.labels.items()) + "}"
            if sample.labels
            else ""
        ): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("POST", b"/v1/chat/completions", "/chat/completions"),
        ("POST", b"/api/openai/chat/completions/", "/chat/completions"),
        ("POST", b"/v1/chat/completions/", UNKNOWN),
        ("GET", b"/v1/models/gpt-4o-mini", "/models/{model}"),
        ("GET", b"/v1/models/another-one", "/models/{model}"),
        ("PATCH", b"/v1/chat/completions", UNKNOWN),
        ("POST", b"/v1/nothing/of/ours", UNKNOWN),
        ("POST", b"/v1/%63hat/completions", UNKNOWN),
        ("GET", b"/v1\xff/", UNKNOWN),
    ],
)
async def test_a_request_is_counted_under_the_path_of_the_table(
    method: str, path: bytes, endpoint: str
) -> None:
    metrics = made()
    metrics.responded(method, path, 401, 0.01)
    values = await values_of(metrics)
    counted = {name: value for name, value in values.items() if "requests_total" in name}
    assert counted == {
        f'tokenbalance_requests_total{{endpoint="{endpoint}",status="401"}}': 1,
    }


async def test_statuses_that_http_does_not_know_are_counted_together() -> None:
    metrics = made()
    for status in (520, 530, 599, 0):
        metrics.responded("GET", b"/v1/models", status, 1.0)
    values = await values_of(metrics)
    assert values['tokenbalance_requests_total{endpoint="/models",status="5xx"}'] == 3
    assert values['tokenbalance_requests_total{endpoint="/models",status="0"}'] == 1


async def test_durations_fall_into_buckets_by_endpoint() -> None:
    metrics = made()
    for seconds in (0.01, 0.2, 0.3, 1000):
        metrics.responded("GET", b"/v1/models", 200, seconds)
    values = await values_of(metrics)
    name = 'tokenbalance_request_duration_seconds_{}{{endpoint="/models"{}}}'
    assert values[name.format("count", "")] == 4
    assert values[name.format("bucket", ',le="0.25"')] == 2
    assert values[name.format("bucket", ',le="300.0"')] == 3
    assert values[name.format("sum", "")] == pytest.approx(1000.51)


async def test_charges_are_counted_with_what_is_odd_about_them() -> None:
    metrics = made()
    hold = Hold("r", 1, 100)
    metrics.charged(hold, Usage(), Charge(30, 0, 0), False)  # noqa: FBT003 - as the book tells it
    metrics.charged(hold, Usage(), Charge(130, 0, 0), False)  # noqa: FBT003 - as above
    metrics.charged(hold, Usage(estimated=True), Charge(7, 0, 0), True)  # noqa: FBT003 - as above
    values = await values_of(metrics)
    assert values["tokenbalance_credits_charged_total"] == 167
    assert values["tokenbalance_credits_overrun_total"] == 30
    assert values["tokenbalance_charges_estimated_total"] == 1
    assert values["tokenbalance_holds_expired_total"] == 1


async def test_tokens_are_counted_by_kind_and_each_once() -> None:
    metrics = made()
    usage = Usage({"input": 10, "cached_input": 4, "output": 5, "reasoning": 5}, total=17)
    for _ in range(2):
        metrics.charged(Hold("r", 1, 100), usage, Charge(17, 0, 0), False)  # noqa: FBT003 - as above
    values = await values_of(metrics)
    name = 'tokenbalance_tokens_charged_total{{kind="{}"}}'
    tokens = {kind: values[name.format(kind)] for kind in UNITS.tokens}
    assert {kind: number for kind, number in tokens.items() if number} == {
        "input": 12,
        "cached_input": 8,
        "output": 4,
        "reasoning": 10,
    }


async def test_a_journal_of_objects_that_is_not_open_is_not_healthy() -> None:
    assert (await values_of(made(notes=False)))["tokenbalance_journal_healthy"] == 0


async def test_what_is_in_progress_and_what_the_books_hold_are_shown() -> None:
    values = await values_of(made(holds=3, totals=Totals(10**15, 12, 2)))
    assert values["tokenbalance_holds_open"] == 3
    assert values["tokenbalance_settlements_pending"] == 2
    assert values["tokenbalance_waiters"] == 0
    assert values["tokenbalance_journal_healthy"] == 1
    assert values["tokenbalance_database_up"] == 1
    assert values["tokenbalance_balance_credits"] == 10**15
    assert values["tokenbalance_held_credits"] == 12
    assert values["tokenbalance_books_open_holds"] == 2


async def test_without_the_database_everything_else_is_shown() -> None:
    values = await values_of(made(holds=3))
    assert values["tokenbalance_database_up"] == 0
    assert values["tokenbalance_holds_open"] == 3
    assert not {name for name in values if name.endswith("_credits")}


async def test_every_name_has_the_prefix_and_no_series_is_there_twice() -> None:
    metrics = made(totals=Totals(1, 1, 1))
    for endpoint in OPERATIONS:
        metrics.responded(endpoint.method, b"/v1" + endpoint.path.encode(), 200, 0.1)
    page = (await metrics.page()).decode()
    samples = [line.rpartition(" ")[0] for line in page.splitlines() if not line.startswith("#")]
    assert all(name.startswith("tokenbalance_") for name in samples)
    assert len(samples) == len(set(samples))


# --- several workers ----------------------------------------------------------------------------


async def worker(place: int, *, holds: int, requests: int) -> dict[str, float]:
    """Be the worker of a place: count, look at all workers, and die."""
    give_place(place)
    metrics = made(holds)
    for _ in range(requests):
        metrics.responded("POST", b"/v1/chat/completions", 200, 0.3)
    values = await values_of(metrics)
    close_all_multiprocess_files()
    return values


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


async def test_workers_are_counted_together_and_those_that_died_once(files: Path) -> None:
    with shared_files():
        assert (await worker(0, holds=1, requests=5))[CHAT_200] == 5
        assert (await worker(1, holds=2, requests=3))[CHAT_200] == 8
        again = await worker(0, holds=0, requests=1)
        assert again[CHAT_200] == 9
        name = 'tokenbalance_request_duration_seconds_count{endpoint="/chat/completions"}'
        assert again[name] == 9
        assert len(found(files, "*/counter_*.db")) == 2


async def test_the_gauges_of_a_worker_end_with_it(files: Path) -> None:
    with shared_files():
        assert (await worker(0, holds=5, requests=0))["tokenbalance_holds_open"] == 5
        assert (await worker(1, holds=2, requests=0))["tokenbalance_holds_open"] == 7
        give_place(0)
        gauges = found(files, "*/gauge_*")
        assert {path.name for path in gauges} == {"gauge_livesum_1.db", "gauge_livemin_1.db"}
        assert (await worker(0, holds=1, requests=0))["tokenbalance_holds_open"] == 3


async def test_a_file_has_its_room_on_the_disk_from_the_start(files: Path) -> None:
    with shared_files():
        _ = await worker(0, holds=0, requests=1)
        for path in found(files, "*/*.db"):
            assert path.stat().st_blocks * 512 >= path.stat().st_size > 0


def test_the_folder_ends_with_its_server_and_one_left_behind_with_the_next(files: Path) -> None:
    (files / "tokenbalance-workers-left").mkdir()
    (files / "somebody-elses").mkdir()
    with shared_files():
        (in_use,) = files.glob("tokenbalance-workers-*")
        with shared_files():
            assert len(list(files.glob("tokenbalance-workers-*"))) == 2
        assert in_use.exists()
    assert [path.name for path in files.iterdir()] == ["somebody-elses"]


async def test_a_process_that_serves_alone_counts_for_itself(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(files))
    metrics = made()
    metrics.responded("POST", b"/v1/chat/completions", 200, 0.3)
    assert (await values_of(metrics))[CHAT_200] == 1
    assert found(files, "*") == []
