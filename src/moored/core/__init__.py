"""The rules of recovery, as pure code: no I/O, no clock, no Trio.  Time is an argument."""
