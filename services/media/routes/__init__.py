"""HTTP routes of the media service: parse, call, answer."""
