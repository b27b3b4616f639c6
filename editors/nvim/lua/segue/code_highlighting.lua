--- The syntax of the code in Markdown buffers, in every language that Neovim has a syntax file for.
--- Where treesitter highlights the buffer and has a parser of each language, it is left to do so.

local M = {}

local MAX_LANGUAGES = 20
local SYNC_LINES = 300

---@param name string of a fence: `python`, or `py`
---@return string? filetype that has a syntax file
local function find_filetype(name)
  for _, filetype in ipairs({ name, vim.filetype.match({ filename = "x." .. name }) or name }) do
    local is_safe = filetype:find("^[%w_]+$") ~= nil -- it becomes part of a command
    if is_safe and #vim.api.nvim_get_runtime_file(("syntax/%s.vim"):format(filetype), false) > 0 then
      return filetype
    end
  end
end

-- `syntax include` expects that no syntax is there, and a syntax file sets that it is.
---@param filetype string
---@param name string by which fences call it
local function include(filetype, name)
  local group = ("segueCode_%s_%s"):format(filetype, name)
  local current = vim.b.current_syntax
  vim.b.current_syntax = nil
  pcall(vim.cmd, ("syntax include @%s syntax/%s.vim"):format(group, filetype))
  vim.b.current_syntax = current
  local start = ([[^\s*\z(`\{3,}\)\s*%s\>.*$]]):format(name)
  local command = [[syntax region %s matchgroup=Delimiter start=/%s/ end=/^\s*\z1\ze\s*$/ keepend contains=@%s]]
  vim.cmd(command:format(group, start, group))
end

---@param line string
---@return string? name of the language, if the line begins a block of code
local function language_of(line)
  return line:match("^%s*```+%s*([%w_]+)")
end

local lacks_parser = {} ---@type table<string, boolean> by the name of a language

-- Treesitter would leave such code without colors.
---@param line string
---@return boolean
local function needs_syntax(line)
  local name = language_of(line)
  if name and lacks_parser[name] == nil then
    local filetype = find_filetype(name)
    local language = filetype and vim.treesitter.language.get_lang(filetype) or filetype
    lacks_parser[name] = language ~= nil and not vim.treesitter.language.add(language)
  end
  return name ~= nil and lacks_parser[name]
end

--- Highlight the code in lines that were added to a buffer.
---@param buffer integer
---@param lines string[]
function M.add(buffer, lines)
  if vim.treesitter.highlighter.active[buffer] then
    if not vim.iter(lines):any(needs_syntax) then
      return
    end
    vim.treesitter.stop(buffer)
    lines = vim.api.nvim_buf_get_lines(buffer, 0, -1, false)
  end
  local known = vim.b[buffer].segue_languages or {}
  local count = vim.tbl_count(known)
  for _, line in ipairs(lines) do
    local name = language_of(line)
    if name and known[name] == nil and count < MAX_LANGUAGES then
      local filetype = find_filetype(name)
      known[name] = filetype or false
      count = count + 1
      if filetype then
        vim.api.nvim_buf_call(buffer, function()
          include(filetype, name)
          vim.cmd(("syntax sync minlines=%d"):format(SYNC_LINES))
        end)
      end
    end
  end
  vim.b[buffer].segue_languages = known
end

--- Forget which languages are highlighted: the buffer's syntax was set anew.
---@param buffer integer
function M.reset(buffer)
  vim.b[buffer].segue_languages = nil
end

return M
