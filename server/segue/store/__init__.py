"""The SessionService contract, and the stores that implement it."""
