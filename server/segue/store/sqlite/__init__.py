"""LocalSessionService: sessions in one SQLite file."""
