"""PostgresSessionService: sessions in a PostgreSQL database that several machines share."""
