--- Where programs are looked for.

local M = {}

--- The path of a program that is named by its path or is on the PATH; nil if it is not there. Only
--- absolute entries of PATH count: in others, a cloned repository could choose the program.
---@param program string
---@return string?
function M.find(program)
  if vim.fs.basename(program) ~= program then
    local path = vim.fn.fnamemodify(program, ":p")
    return vim.fn.executable(path) == 1 and path or nil
  end
  local is_windows = vim.fn.has("win32") == 1
  for directory in vim.gsplit(vim.env.PATH or "", is_windows and ";" or ":", { plain = true }) do
    local is_absolute = directory:find(is_windows and "^%a:[\\/]" or "^/")
    local path = is_absolute and vim.fn.exepath(vim.fs.joinpath(directory, program)) or ""
    if path ~= "" then
      return path
    end
  end
end

return M
