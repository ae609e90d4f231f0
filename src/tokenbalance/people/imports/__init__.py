"""Many users from a table: what it says, what would be made of it, and what `people` makes.

    reading    text becomes lines of named cells
    cells      a line becomes a person, or mistakes
    planning   all lines become a plan: who is new, who is there already, every mistake
    enrolling  the new users of a plan, with accounts, tags, limits, and a key or a link each
    results    who got which key or link, as CSV

The first three are pure: a dry run is a plan that is not carried out. Credits are not its business:
`cohorts` carries a plan out with both.
"""
