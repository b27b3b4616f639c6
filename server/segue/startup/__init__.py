"""The composition root, the settings, and the lazy imports of a server."""
