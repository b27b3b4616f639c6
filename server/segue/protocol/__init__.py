"""The wire protocol: one method table, its messages, their JSON."""
