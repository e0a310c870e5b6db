"""Streaming connections that stay alive, on Trio."""
