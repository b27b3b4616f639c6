local M = {}

function M.extend(adapter)
  return vim.deepcopy(type(adapter) == "function" and adapter() or adapter)
end

return M
