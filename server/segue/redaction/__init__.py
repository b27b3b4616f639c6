"""Finds secrets in JSON values and masks them; `sessions.window` does so before storing."""
