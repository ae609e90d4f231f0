"""A small fake OpenAI, for trying the product without a key and for its own tests.

Start reading at `app.py`. Nothing here knows the proxy, the ledger or the database: to them
the sandbox is just another upstream.
"""
