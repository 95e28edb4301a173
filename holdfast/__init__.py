"""The command line; the one package that may see all three services."""
