"""Segue keeps the AI conversations that people have in their editors, and brings them back."""

__version__ = "0.1.0"
