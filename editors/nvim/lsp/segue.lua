---@type vim.lsp.Config
return {
  cmd = { "segue", "lsp" },
  root_markers = { ".git" },
}
