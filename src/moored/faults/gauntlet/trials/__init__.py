"""The trials, by the layer where the fault is."""
