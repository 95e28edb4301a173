"""Assets, presets, renditions and the CPU pool."""
