"""Many users at once: what needs `people` and `books` in one transaction.

    importing   users from a table, with credits, limits, tags, and a key or a link each
    credits     credits for everybody who has a tag

Works in the caller's transaction and never commits. Accounts are locked in the order of their ids,
so two such transactions wait for each other and never deadlock. Builds no SQL and knows no HTTP.
"""
