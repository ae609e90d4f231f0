"""What is sent to each operation and what comes back, by example; shapes as the upstream's.

Only for the documentation (and for what the sandbox returns where it has nothing better): nothing
is checked against it. Its models are ones without a shutdown date on OpenAI's page of deprecations
as of November 2026; `/completions` has none left there, so its example is of another server.
"""
