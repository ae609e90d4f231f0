"""The recipes on the front page, run as they stand there.

Those that need nothing but this checkout are run by pytest; `__main__` installs the other clients.
"""
