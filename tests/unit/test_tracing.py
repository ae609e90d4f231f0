from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parents[2]
MEASURED = """\
import asyncio
from sqlalchemy.util import await_only, greenlet_spawn

def within():
    return await_only(asyncio.sleep(0, 1))

async def around():
    got = await greenlet_spawn(within)
    got += await greenlet_spawn(within)
    return got

assert asyncio.run(around()) == 2
done = True
"""
MEASURE = """
import runpy, sys
import coverage, orjson
from tests.support.tracing import trace_outside_of_greenlets

path = sys.argv[1]
measured = coverage.Coverage(
    data_file=None, config_file=False, include=[path], concurrency=["thread", "greenlet"]
)
measured.start()
tracing = trace_outside_of_greenlets()
next(tracing)
runpy.run_path(path)
next(tracing, None)
measured.stop()
sys.stdout.buffer.write(orjson.dumps(sorted(measured.get_data().lines(path))))
"""


def test_what_awaits_a_greenlet_is_measured_and_what_runs_in_it_is_not(tmp_path: Path) -> None:
    path = tmp_path / "measured.py"
    path.write_text(MEASURED)
    kept = {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**kept, "COVERAGE_CORE": "ctrace", "PYTHONPATH": str(ROOT)}

    printed = subprocess.run(
        [sys.executable, "-c", MEASURE, path], env=environment, stdout=subprocess.PIPE, check=True
    ).stdout

    # All lines but the fifth, which runs within.
    assert orjson.loads(printed) == [1, 2, 4, 7, 8, 9, 10, 12, 13]
