"""A task module that cannot be imported."""

raise ImportError("on purpose")
