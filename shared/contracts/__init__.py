"""The messages: the only thing that services share with one another."""
