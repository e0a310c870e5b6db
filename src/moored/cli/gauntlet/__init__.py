"""``moored gauntlet``: any client program against a catalogue of faults, and its score."""
