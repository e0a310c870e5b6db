"""``moored proxy``: fault proxies, as a program."""
