"""The implementations of the SessionService contract."""
