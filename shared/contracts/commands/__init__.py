"""One module of command classes for each service that handles them."""
