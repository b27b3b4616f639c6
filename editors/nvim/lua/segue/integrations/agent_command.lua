--- The commands that run agents (ACP).

local M = {}

--- Whether an agent is run behind `segue acp`: by `segue acp -- AGENT`, the program's own path, or
--- `python -m segue`; with options, too.
---@param command any
---@return boolean
function M.is_wrapped(command)
  local is_segue = false
  for _, argument in ipairs(type(command) == "table" and command or {}) do
    if argument == "--" or (is_segue and argument == "acp") then
      return argument == "acp"
    end
    is_segue = is_segue or vim.fs.basename(tostring(argument)):gsub("%.%w+$", "") == "segue"
  end
  return false
end

return M
