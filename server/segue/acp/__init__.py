"""The recording proxy in front of an agent that speaks the Agent Client Protocol (ACP)."""
