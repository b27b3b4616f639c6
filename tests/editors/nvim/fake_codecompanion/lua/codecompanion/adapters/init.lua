local M = {}

function M.resolve(name)
  local adapters = require("codecompanion.config").adapters
  return vim.deepcopy(adapters.http[name] or adapters.acp[name])
end

return M
