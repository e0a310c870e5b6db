"""A stream that survives: the nursery, its tasks, and what a consumer sees of them.

:mod:`.openers` are the front doors; :mod:`.stream` is what they give; :mod:`.supervisor` is the
reconnect task, :mod:`.session` the tasks of one connection, :mod:`.lifetime` the nursery around
them all.
"""
