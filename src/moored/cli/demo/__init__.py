"""``moored demo``: streams that live through faults, and the account of it."""
