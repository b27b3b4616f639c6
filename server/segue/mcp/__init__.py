"""The MCP server: agents list, search and read earlier conversations. Nothing here writes.

Only this package imports the MCP SDK, which the extra `segue[mcp]` installs.
"""
