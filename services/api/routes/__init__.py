"""HTTP routes of the api service: parse, call, answer."""
