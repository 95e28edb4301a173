"""What a process needs around its work: resources, beats, health, callers, egress."""
