"""A small fake OpenAI, to try the product without a key and for its own tests.

Start reading at `app.py`. Nothing here knows the proxy, the ledger or the database: for them the
sandbox is an upstream like any other.
"""
