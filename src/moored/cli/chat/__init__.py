"""``moored chat``: one streamed answer on the terminal."""
