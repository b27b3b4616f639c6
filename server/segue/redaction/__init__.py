"""Finds secrets in JSON values and masks them."""
