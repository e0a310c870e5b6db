"""Bounded concurrent streams."""
