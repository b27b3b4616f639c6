local M = {}

function M.resolve(name)
  local adapters = require("codecompanion.config").adapters
  if adapters.acp[name] then
    return require("codecompanion.adapters.acp").extend(adapters.acp[name])
  end
  return vim.deepcopy(adapters.http[name])
end

return M
