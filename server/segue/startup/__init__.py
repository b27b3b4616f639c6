"""The composition root, and what makes a start fast."""
