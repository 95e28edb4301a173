"""Endpoints, events and their signed deliveries."""
