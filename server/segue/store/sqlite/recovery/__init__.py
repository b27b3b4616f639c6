"""Quarantines a damaged database and salvages its rows. Imported in trouble only."""
