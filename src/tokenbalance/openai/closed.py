"""OpenAI's operations that are not open here, with the reason that callers get.

One line per path, as in OpenAI's API reference; `{id}` stands for one path segment. `SOCKET` is the
`GET` that opens a WebSocket. Their twins with `?beta=true` are closed with them. What is in neither
table is unknown: after a new release of the SDK a test names what is missing.
"""

from __future__ import annotations

from typing import Final

_SOCKET: Final = "it is a WebSocket, which is not served here yet"
_SHUT_DOWN: Final = "OpenAI has shut it down"

CLOSED: Final[dict[str, str]] = {
    "it starts or belongs to a job, whose cost comes later, and jobs are not open here yet": """
GET POST        /agents
GET POST        /agents/automations
GET POST DELETE /agents/automations/{id}
GET POST        /agents/automations/{id}/invocations
GET             /agents/automations/{id}/invocations/{id}
POST            /agents/automations/{id}/pause
POST            /agents/automations/{id}/resume
GET POST        /agents/environments
GET POST        /agents/environments/templates
GET POST DELETE /agents/environments/templates/{id}
GET             /agents/environments/{id}
GET POST        /agents/environments/{id}/files
GET POST        /agents/sessions
GET POST DELETE /agents/sessions/{id}
GET             /agents/sessions/{id}/artifacts
GET DELETE      /agents/sessions/{id}/artifacts/{id}
GET             /agents/sessions/{id}/artifacts/{id}/content
GET POST        /agents/sessions/{id}/events
GET             /agents/sessions/{id}/items
GET             /agents/sessions/{id}/subagents
GET             /agents/sessions/{id}/subagents/{id}
GET             /agents/sessions/{id}/subagents/{id}/items
GET             /agents/sessions/{id}/subagents/{id}/turns
GET             /agents/sessions/{id}/subagents/{id}/turns/{id}
GET             /agents/sessions/{id}/subagents/{id}/turns/{id}/items
GET             /agents/sessions/{id}/traces
GET             /agents/sessions/{id}/turns
GET             /agents/sessions/{id}/turns/{id}
GET             /agents/sessions/{id}/turns/{id}/items
GET POST DELETE /agents/{id}
GET POST        /batches
GET             /batches/{id}
POST            /batches/{id}/cancel
GET POST        /fine_tuning/jobs
GET             /fine_tuning/jobs/{id}
POST            /fine_tuning/jobs/{id}/cancel
GET             /fine_tuning/jobs/{id}/checkpoints
GET             /fine_tuning/jobs/{id}/events
POST            /fine_tuning/jobs/{id}/pause
POST            /fine_tuning/jobs/{id}/resume
""",
    "its cost is not metered here yet": """
""",
    "it opens a way to the upstream that bypasses this server": """
POST            /chatkit/sessions
POST            /chatkit/sessions/{id}/cancel
GET             /chatkit/threads
GET DELETE      /chatkit/threads/{id}
GET             /chatkit/threads/{id}/items
POST            /live/sessions
POST            /live/sessions/{id}/accept
SOCKET          /live/sessions/{id}/attach
GET             /live/sessions/{id}/content
POST            /live/sessions/{id}/fork
POST            /live/sessions/{id}/hangup
POST            /live/sessions/{id}/refer
POST            /live/sessions/{id}/reject
POST            /realtime/calls
POST            /realtime/calls/{id}/accept
POST            /realtime/calls/{id}/hangup
POST            /realtime/calls/{id}/refer
POST            /realtime/calls/{id}/reject
POST            /realtime/client_secrets
POST            /realtime/sessions
POST            /realtime/transcription_sessions
POST            /realtime/translations/client_secrets
""",
    _SOCKET: """
SOCKET          /live/sessions
SOCKET          /live/sessions/{id}/fork
SOCKET          /realtime
SOCKET          /realtime/translations
SOCKET          /responses
""",
    _SHUT_DOWN: """
GET POST        /assistants
GET POST DELETE /assistants/{id}
GET POST        /evals
GET POST DELETE /evals/{id}
GET POST        /evals/{id}/runs
GET POST DELETE /evals/{id}/runs/{id}
POST            /evals/{id}/runs/{id}/cancel
GET             /evals/{id}/runs/{id}/output_items
GET             /evals/{id}/runs/{id}/output_items/{id}
POST            /images/variations
POST            /threads
POST            /threads/runs
GET POST DELETE /threads/{id}
GET POST        /threads/{id}/messages
GET POST DELETE /threads/{id}/messages/{id}
GET POST        /threads/{id}/runs
GET POST        /threads/{id}/runs/{id}
POST            /threads/{id}/runs/{id}/cancel
GET             /threads/{id}/runs/{id}/steps
GET             /threads/{id}/runs/{id}/steps/{id}
POST            /threads/{id}/runs/{id}/submit_tool_outputs
GET POST        /videos
POST            /videos/characters
GET             /videos/characters/{id}
POST            /videos/edits
POST            /videos/extensions
GET DELETE      /videos/{id}
GET             /videos/{id}/content
POST            /videos/{id}/remix
""",
    "it acts for all users of the shared key": """
GET POST        /fine_tuning/checkpoints/{id}/permissions
DELETE          /fine_tuning/checkpoints/{id}/permissions/{id}
DELETE          /models/{id}
GET             /safety/alerts/{id}
GET             /safety/cases/{id}
POST            /traces/ingest
GET POST        /vaults
GET POST DELETE /vaults/{id}
GET POST        /vaults/{id}/credentials
GET POST DELETE /vaults/{id}/credentials/{id}
GET POST        /webhook_endpoints
GET POST DELETE /webhook_endpoints/{id}
POST            /webhook_endpoints/{id}/rotate_secret
POST            /webhook_endpoints/{id}/test
GET             /webhook_event_types
""",
    "it administers the operator's organization": """
GET POST        /organization/admin_api_keys
GET DELETE      /organization/admin_api_keys/{id}
GET             /organization/audit_logs
GET POST        /organization/certificates
POST            /organization/certificates/activate
POST            /organization/certificates/deactivate
GET POST DELETE /organization/certificates/{id}
GET             /organization/costs
GET POST        /organization/data_retention
GET POST        /organization/external_keys
GET DELETE      /organization/external_keys/{id}
POST            /organization/external_keys/{id}/validate
GET POST        /organization/external_storage
GET DELETE      /organization/external_storage/{id}
POST            /organization/external_storage/{id}/validate
GET POST        /organization/groups
GET POST DELETE /organization/groups/{id}
GET POST        /organization/groups/{id}/roles
GET DELETE      /organization/groups/{id}/roles/{id}
GET POST        /organization/groups/{id}/users
GET DELETE      /organization/groups/{id}/users/{id}
GET POST        /organization/invites
GET DELETE      /organization/invites/{id}
GET POST        /organization/projects
GET POST        /organization/projects/{id}
GET             /organization/projects/{id}/api_keys
GET POST DELETE /organization/projects/{id}/api_keys/{id}
POST            /organization/projects/{id}/archive
GET             /organization/projects/{id}/certificates
POST            /organization/projects/{id}/certificates/activate
POST            /organization/projects/{id}/certificates/deactivate
GET POST        /organization/projects/{id}/data_retention
GET POST        /organization/projects/{id}/groups
GET DELETE      /organization/projects/{id}/groups/{id}
GET POST        /organization/projects/{id}/hosted_tool_permissions
GET POST DELETE /organization/projects/{id}/model_permissions
GET             /organization/projects/{id}/rate_limits
POST            /organization/projects/{id}/rate_limits/{id}
GET POST        /organization/projects/{id}/service_accounts
GET POST DELETE /organization/projects/{id}/service_accounts/{id}
POST            /organization/projects/{id}/service_accounts/{id}/api_keys
GET POST        /organization/projects/{id}/service_tier_settings
GET POST        /organization/projects/{id}/spend_alerts
GET POST DELETE /organization/projects/{id}/spend_alerts/{id}
GET POST DELETE /organization/projects/{id}/spend_limit
GET POST        /organization/projects/{id}/users
GET POST DELETE /organization/projects/{id}/users/{id}
GET POST        /organization/roles
GET POST DELETE /organization/roles/{id}
GET POST        /organization/spend_alerts
GET POST DELETE /organization/spend_alerts/{id}
GET POST DELETE /organization/spend_limit
GET             /organization/usage/audio_speeches
GET             /organization/usage/audio_transcriptions
GET             /organization/usage/code_interpreter_sessions
GET             /organization/usage/completions
GET             /organization/usage/decisions
GET             /organization/usage/embeddings
GET             /organization/usage/file_search_calls
GET             /organization/usage/images
GET             /organization/usage/moderations
GET             /organization/usage/vector_stores
GET             /organization/usage/web_search_calls
GET             /organization/users
GET POST DELETE /organization/users/{id}
GET POST        /organization/users/{id}/roles
GET DELETE      /organization/users/{id}/roles/{id}
GET POST        /organization/workload_identity_providers
GET POST DELETE /organization/workload_identity_providers/{id}
GET POST        /organization/workload_identity_providers/{id}/federation_rules
GET POST DELETE /organization/workload_identity_providers/{id}/federation_rules/{id}
GET POST        /projects/{id}/groups/{id}/roles
GET DELETE      /projects/{id}/groups/{id}/roles/{id}
GET POST        /projects/{id}/roles
GET POST DELETE /projects/{id}/roles/{id}
GET POST        /projects/{id}/users/{id}/roles
GET DELETE      /projects/{id}/users/{id}/roles/{id}
""",
}
"""Reasons, each with its lines."""
OF_ONE_ALONE: Final = frozenset({_SOCKET, _SHUT_DOWN})
"""Reasons that say nothing of other operations that begin with the same word."""
