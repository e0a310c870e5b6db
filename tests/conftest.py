"""For all tests."""

from hypothesis import settings

# The same examples in every run: a test that fails now and then is a bug to be found, not luck.
settings.register_profile("moored", derandomize=True, deadline=None)
settings.load_profile("moored")
