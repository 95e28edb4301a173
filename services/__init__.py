"""The deployable services; each owns its routes, tables, tasks and workers."""
