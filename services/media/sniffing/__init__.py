"""The type of a file by its content: names, extensions and headers of requests count for nothing."""
