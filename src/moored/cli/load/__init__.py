"""``moored load``: a burst of requests through a pool and a limiter, measured."""
