"""The sessions of one editor window, whatever store they are in."""
