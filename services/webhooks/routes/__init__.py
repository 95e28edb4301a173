"""HTTP routes of the webhooks service: parse, call, answer."""
