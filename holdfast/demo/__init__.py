"""The demo: the main job on a fresh system, with a photo that ships here, while a worker is killed and Redis wiped."""
