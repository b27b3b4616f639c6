"""Bytes to frames and back: LSP's base protocol."""
