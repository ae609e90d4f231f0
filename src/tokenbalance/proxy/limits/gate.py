"""What requests of limited keys pass before their holds: the rules of everybody whom they concern.

Nobody else's requests come here. A remembered policy lets requests pass, since the statement of the
hold compares its version; it refuses none: the key is looked up first, and all is judged anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tokenbalance.errors import ProxyError
from tokenbalance.openai.objects.models import model_of
from tokenbalance.proxy.asked import path_below_prefix
from tokenbalance.proxy.limits.end_users import policy_for, subject_in_head
from tokenbalance.proxy.limits.rules import (
    check_address,
    check_asked,
    check_endpoint,
    check_seen_model,
    hides_model,
)

if TYPE_CHECKING:
    from tokenbalance.model import Caller, Policy
    from tokenbalance.openai.objects.models import IsRefused
    from tokenbalance.openai.operation import Operation
    from tokenbalance.people.remembered import Bearer
    from tokenbalance.proxy.asked import Asked
    from tokenbalance.proxy.bearers import Bearers
    from tokenbalance.proxy.limits.storms import Storms
    from tokenbalance.wire.client.request import ClientRequest


@dataclass(frozen=True, slots=True)
class Gate:
    """Judges requests by the rules of their keys."""

    bearers: Bearers
    storms: Storms

    def refuse_storm(self, request: ClientRequest, bearer: Bearer) -> None:
        """Refuse a request beyond a rate that is known to be used up, without a look-up.

        Raises:
            LimitReached: its rate of requests has no room yet.

        """
        policy = bearer.caller.policy
        if policy is None or not self.storms:
            return
        self.storms.check(bearer, subject_in_head(bearer.caller.key_id, policy, request.headers))

    async def judge(
        self,
        request: ClientRequest,
        bearer: Bearer,
        operation: Operation | None = None,
        asked: Asked | None = None,
    ) -> None:
        """Refuse a request that a rule does not allow, as far as it is known.

        Args:
            request: the client's.
            bearer: whose it is.
            operation: what it asks for; None: not known yet.
            asked: what it asks for in all; None: its body was not read yet.

        Raises:
            IpNotAllowed, EndpointNotAllowed, ModelNotAllowed, ModelNotFound: a rule forbids it.
            ServiceTierNotAllowed, ToolNotAllowed: likewise.
            InvalidApiKey, MissingScope: the key has ended since it was remembered.

        """
        policy = bearer.caller.policy
        if policy is None or (not policy.rules and policy.end_users is None):
            return
        try:
            await _judge(policy, bearer.caller.key_id, request, operation, asked)
        except ProxyError:
            if not bearer.is_remembered:
                raise
        else:
            return
        await self.bearers.look_up(bearer)
        await self.judge(request, bearer, operation, asked)

    def hides_model(self, caller: Caller) -> IsRefused | None:
        """Return what says of a model whether a caller does not see it; None: it sees all."""
        return None if caller.policy is None else hides_model(caller.policy)

    async def judge_asked(self, request: ClientRequest, bearer: Bearer, asked: Asked) -> Asked:
        """Judge a request that was read, and bind it to the end user whom it names.

        Raises: as `judge`.

        Returns:
            The request, with a caller whose policy is all that limits it.

        """
        await self.judge(request, bearer, asked.operation, asked)
        caller = bearer.caller
        policy = caller.policy
        if policy is not None and policy.end_users is not None:
            policy = policy_for(caller.key_id, policy, request.headers, asked.document)
            caller = replace(caller, policy=policy)
        return asked if caller is asked.caller else replace(asked, caller=caller)


async def _judge(
    policy: Policy,
    key_id: int,
    request: ClientRequest,
    operation: Operation | None,
    asked: Asked | None,
) -> None:
    if any(rules.addresses is not None for rules in policy.rules):
        check_address(policy, await request.address())
    if operation is None:
        return
    path = path_below_prefix(request.raw_path)
    check_endpoint(policy, operation, path)
    if operation.of_models and (name := model_of(path)):
        check_seen_model(policy, name)
    if asked is not None:
        check_asked(policy_for(key_id, policy, request.headers, asked.document), asked)
