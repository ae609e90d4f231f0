"""The words in which a failure that the upstream reports reaches a caller.

Most failures are about the request and pass on as they came. Those about the operator's key, money
or models are reworded, as `openai.failure` decides, and alarm the operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from tokenbalance.errors import UpstreamAuth, UpstreamQuota
from tokenbalance.openai.failure import document_in_our_words, events_in_our_words, judge

if TYPE_CHECKING:
    from tokenbalance.openai.failure import Verdict
    from tokenbalance.telemetry.alarms import Alarms


@dataclass(frozen=True, slots=True)
class Wording:
    """The words in which a failure reaches a caller, and the alarm where it is the operator's."""

    alarms: Alarms

    def judge(self, status: int, body: bytes, model: str | None) -> None:
        """Raise the error that takes the place of a refusal, if one does.

        Raises:
            UpstreamAuth, UpstreamQuota: the operator's key was refused, or their money is used up.
            ModelNotFound, NotAllowed: the request was refused in words that are not for callers.

        """
        verdict = judge(status, body, model)
        if verdict is not None:
            self._alarm(status, verdict)
            raise verdict.error

    def of_document(self, body: bytes, status: int, model: str | None) -> bytes:
        """A document, with an error in it reworded where that is necessary."""
        reworded = document_in_our_words(body, model)
        if reworded is None:
            return body
        self._alarm(status, reworded.verdict)
        return reworded.body

    def of_events(self, events: bytes, model: str | None) -> bytes:
        """The events that end a failed stream, reworded where that is necessary."""
        reworded = events_in_our_words(events, model)
        if reworded is None:
            return events
        self._alarm(HTTPStatus.OK, reworded.verdict)
        return reworded.body

    def _alarm(self, status: int, verdict: Verdict) -> None:
        error = verdict.error
        if isinstance(error, UpstreamAuth | UpstreamQuota):
            said = f"{status} {verdict.code}".rstrip()
            self.alarms.sound(error.code, f"{error.code}: the upstream responded {said}")
