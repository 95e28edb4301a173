from tests.integration.http.places import place

__all__ = ["place"]
