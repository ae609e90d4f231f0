"""Grants: credits with a source and perhaps an end, and allowances that issue one each period.

    burning      which grants an entry takes from or gives back to; no I/O
    calendar     when a period of an allowance begins and ends; no I/O
    purse        the grants of one account, brought up to date with its ledger
    due          enters what is due: ends of grants, and the next periods of allowances
    issuing      grants that people make
    allowances   rules that people make

A balance is the sum of what remains of its grants. Nothing of this happens on the request path
while nothing is due.
"""
