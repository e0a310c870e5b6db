"""The commands: ``moored demo | tail | serve | proxy``."""
