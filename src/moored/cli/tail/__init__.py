"""``moored tail``: follow any stream, through drops."""
