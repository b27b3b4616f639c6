--- What a person may set: `vim.g.segue`, read when it is needed.

local M = {}

---@class segue.Integrations
---@field codecompanion? boolean|{ offer?: boolean } Record the chats of codecompanion.nvim, and offer in a new one to go on with an earlier session (default: both)

---@class segue.Config
---@field cmd? string[] The server's command (default: that of `vim.lsp.config.segue`)
---@field continue_minutes? number How old a session may be to be resumed by itself; 0: never (default: the server's)
---@field notify? boolean Say what was resumed; warnings and errors are always said (default: true)
---@field integrations? segue.Integrations

---@type segue.Config
local defaults = {
  notify = true,
  integrations = { codecompanion = true },
}

---@type table<string, string> each fault that was said already
local said = {}

---@param value any
---@return boolean
local function is_command(value)
  return vim.islist(value)
    and #value > 0
    and vim.iter(value):all(function(word)
      return type(word) == "string" and word ~= ""
    end)
end

---@param value any
---@return boolean
local function is_integration(value)
  return type(value) == "boolean"
    or (type(value) == "table" and (value.offer == nil or type(value.offer) == "boolean"))
end

---@type table<string, fun(value: any)>
local checks = {
  cmd = function(value)
    vim.validate("cmd", value, is_command, false, "a list of strings")
  end,
  continue_minutes = function(value)
    vim.validate("continue_minutes", value, "number")
  end,
  notify = function(value)
    vim.validate("notify", value, "boolean")
  end,
  integrations = function(value)
    vim.validate("integrations", value, "table")
    for name, on in pairs(value) do
      vim.validate("integrations." .. name, on, is_integration, false, "a boolean or { offer = boolean }")
    end
  end,
}

---@param given any
---@return segue.Config config, string[] faults
local function checked(given)
  local config, faults = vim.deepcopy(defaults), {}
  if type(given) ~= "table" then
    return config, { "vim.g.segue: expected table, got " .. type(given) }
  end
  for name, value in pairs(given) do
    local check = checks[name]
    local ok, fault = true, nil
    if check then
      ok, fault = pcall(check, value)
    else
      ok, fault = false, ("%s: there is no such setting"):format(name)
    end
    if not ok then
      faults[#faults + 1] = "vim.g.segue." .. tostring(fault):gsub("\n.*", "")
    elseif name == "integrations" then
      config.integrations = vim.tbl_extend("force", config.integrations, value)
    else
      config[name] = value
    end
  end
  return config, faults
end

--- What is wrong with `vim.g.segue`, for people.
---@return string[]
function M.faults()
  local _, faults = checked(vim.g.segue or {})
  return faults
end

--- The settings that hold: the person's where they are right, else the defaults.
---@return segue.Config
function M.get()
  local config, faults = checked(vim.g.segue or {})
  for _, fault in ipairs(faults) do
    if not said[fault] then
      said[fault] = fault
      M.notify(fault .. " (see :help segue-configuration)", vim.log.levels.ERROR)
    end
  end
  return config
end

--- Tell the person something, in one line.
---@param message string
---@param level? integer One of |vim.log.levels|; information may be switched off
function M.notify(message, level)
  level = level or vim.log.levels.INFO
  vim.schedule(function()
    if level > vim.log.levels.INFO or M.get().notify then
      vim.notify("segue: " .. message, level, { title = "segue" })
    end
  end)
end

return M
