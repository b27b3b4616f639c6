"""What every store decides alike, from facts that each reads in its own way."""
