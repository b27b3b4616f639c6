"""The `segue lsp` server: sessions over JSON-RPC on stdio, on pygls."""
