"""The life of a hold: leases, waiting, settling, the sweep and the journal."""
