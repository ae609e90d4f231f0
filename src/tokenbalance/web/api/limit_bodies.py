"""Limits in the bodies of requests and responses: flat, by their names."""

from typing import Annotated, Final, TypeAlias, cast

from pydantic import BaseModel, Field

from tokenbalance.model import Json
from tokenbalance.model.limits import ENDPOINT_GROUPS
from tokenbalance.people.limits import LIMIT_MAX, LIMITS, KeyLimits, LimitChanges, limit_value
from tokenbalance.web.api.bodies import Body

_Number: TypeAlias = Annotated[int | None, Field(ge=1, le=LIMIT_MAX)]
_MODELS: Final = (
    "Patterns in order: the first that matches the name of the model decides, one that begins with"
    " `!` forbids it, and what none matches is forbidden."
)
LIMITS_EXAMPLE: Final[dict[str, Json]] = {
    **dict.fromkeys(LIMITS),
    "requests_per_minute": 60,
    "credits_total": 100_000,
    "models": ["gpt-4o-*"],
}


class LimitsBody(Body):
    """Limits of a request: null is no limit."""

    requests_per_minute: _Number = None
    tokens_per_minute: _Number = None
    tokens_per_day: _Number = Field(
        default=None, description="Days, weeks and months are those of the account's time zone."
    )
    credits_per_day: _Number = None
    credits_per_week: _Number = Field(default=None, description="From Monday on.")
    credits_per_month: _Number = None
    parallel_requests: _Number = None
    credits_total: _Number = Field(default=None, description="Over its lifetime.")
    credits_per_request: _Number = Field(
        default=None, description="The most that one request may hold; its output is cut to fit."
    )
    models: list[str] | None = Field(default=None, description=_MODELS)
    endpoints: list[str] | None = Field(
        default=None, description=f"Groups of endpoints: {', '.join(ENDPOINT_GROUPS)}."
    )
    addresses: list[str] | None = Field(
        default=None, description="IP addresses and networks of clients, such as 192.0.2.0/24."
    )
    service_tiers: list[str] | None = Field(
        default=None, description="Such as `default` and `flex`."
    )
    tools: list[str] | None = Field(
        default=None,
        description="Types of hosted tools, such as `web_search`; an empty list: none of them.",
    )

    def limit_changes(self) -> LimitChanges:
        """Return the limits that are given.

        Raises:
            InvalidLimit: one of them is not valid.

        """
        given = [name for name in LIMITS if name in self.model_fields_set]
        return {name: limit_value(name, cast("object", getattr(self, name))) for name in given}


class LimitsShown(BaseModel):
    """Limits of a response: null is no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    credits_per_day: int | None = None
    credits_per_week: int | None = None
    credits_per_month: int | None = None
    parallel_requests: int | None = None
    credits_total: int | None = None
    credits_per_request: int | None = None
    models: list[str] | None = None
    endpoints: list[str] | None = None
    addresses: list[str] | None = None
    service_tiers: list[str] | None = None
    tools: list[str] | None = None


def limits_shown(limits: KeyLimits) -> LimitsShown:
    """Build the part of a response about limits."""
    return LimitsShown.model_validate(limits.as_document())
