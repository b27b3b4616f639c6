"""The `segue lsp` server: sessions over JSON-RPC on stdio. Only this room knows the wire."""
