"""Teams: accounts that several users spend from, each in a role.

A team is an account of its own kind, and its id is that of the account. Who may do what in it is
decided by `people.access`; nothing here looks at roles but to store them, and to keep an owner.
"""
