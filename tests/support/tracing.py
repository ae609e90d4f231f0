"""Coverage at half its price: SQLAlchemy's greenlets run untraced, and so need not be told apart.

Told of greenlets, coverage asks at every call and every return in which one it is, which takes
longer than all else that it does. SQLAlchemy runs nothing of ours inside of them: what they wait
for is awaited outside. Only the thread of the tests is treated so; in other threads and processes
coverage does as it is configured.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import greenlet

if TYPE_CHECKING:
    from collections.abc import Generator

_TRACER: Final = "CTracer"
"""Coverage's own, in C. Others, a debugger's say, are left alone."""


def trace_outside_of_greenlets() -> Generator[None]:
    """Trace this thread's main greenlet only, from now until the generator goes on."""
    tracer: Any = sys.gettrace()
    if type(tracer).__name__ != _TRACER:
        yield
        return
    main, asked = greenlet.getcurrent(), tracer.concur_id_func

    def on_switch(_event: str, switched: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
        sys.settrace(tracer if switched[1] is main else None)

    tracer.concur_id_func = None
    before = greenlet.settrace(on_switch)
    yield
    greenlet.settrace(before)
    tracer.concur_id_func = asked
