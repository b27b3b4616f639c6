--- The user's settings, `vim.g.segue`, read each time they are needed; and notifications.

local M = {}

---@class segue.Integrations
---@field agentic? boolean Record the chats of agentic.nvim (default: true)
---@field avante? boolean Store the conversations of avante.nvim while they are had (default: true)
---@field codecompanion? boolean|{ offer?: boolean, acp?: boolean } Record the chats of codecompanion.nvim, and offer in a new chat to resume an earlier session (default: both); run its agents (ACP) behind `segue acp` (default: no)
---@field copilot_chat? boolean Record the chat of CopilotChat.nvim (default: true)

---@class segue.Config
---@field cmd? string[] The server's command (default: that of `vim.lsp.config.segue`)
---@field continue_minutes? number Sessions older than this are not resumed automatically; 0: none is (default: the server's setting)
---@field notify? boolean Show informational notifications; warnings and errors are always shown (default: true)
---@field integrations? segue.Integrations
---@field search_picker? "auto"|"snacks"|"telescope"|"fzf-lua"|"builtin" What |:Segue-search| shows results with (default: "auto", the first of these that is installed)
---@field watch? boolean Import the conversations of other programs while Neovim runs, |segue-watch| (default: false; nil: notify once that there are some)

---@type segue.Config
local defaults = {
  notify = true,
  integrations = { agentic = true, avante = true, codecompanion = true, copilot_chat = true },
  search_picker = "auto",
}

local SEARCH_PICKERS = { "auto", "snacks", "telescope", "fzf-lua", "builtin" }

---@type table<string, true> faults that the user was notified of
local notified = {}

---@param value any
---@return boolean
local function is_command(value)
  return vim.islist(value)
    and #value > 0
    and vim.iter(value):all(function(argument)
      return type(argument) == "string" and argument ~= ""
    end)
end

---@param value any
---@return boolean
local function is_finite(value)
  return type(value) == "number" and value - value == 0
end

---@param value any
---@return boolean
local function is_switch(value)
  return value == nil or type(value) == "boolean"
end

---@param value any
---@return boolean
local function is_integration(value)
  return type(value) == "boolean"
    or (type(value) == "table" and is_switch(value.offer) and is_switch(value.acp))
end

---@param value any
---@return boolean
local function is_search_picker(value)
  return vim.list_contains(SEARCH_PICKERS, value)
end

---@type table<string, fun(value: any)>
local validators = {
  cmd = function(value)
    vim.validate("cmd", value, is_command, false, "a list of strings")
  end,
  continue_minutes = function(value)
    vim.validate("continue_minutes", value, is_finite, false, "a finite number")
  end,
  notify = function(value)
    vim.validate("notify", value, "boolean")
  end,
  search_picker = function(value)
    local expected = "one of " .. table.concat(SEARCH_PICKERS, ", ")
    vim.validate("search_picker", value, is_search_picker, false, expected)
  end,
  watch = function(value)
    vim.validate("watch", value, "boolean")
  end,
  integrations = function(value)
    vim.validate("integrations", value, "table")
    for name, setting in pairs(value) do
      vim.validate(
        "integrations." .. name,
        setting,
        is_integration,
        false,
        "a boolean or { offer = boolean, acp = boolean }"
      )
    end
  end,
}

---@param settings any
---@return segue.Config config, string[] faults
local function validate(settings)
  local config, faults = vim.deepcopy(defaults), {}
  if type(settings) ~= "table" then
    return config, { "vim.g.segue: expected table, got " .. type(settings) }
  end
  for name, value in pairs(settings) do
    local validator = validators[name]
    local ok, fault = true, nil
    if validator then
      ok, fault = pcall(validator, value)
    else
      ok, fault = false, ("%s: unknown setting"):format(name)
    end
    if not ok then
      local message = tostring(fault):gsub("\n.*", ""):gsub("^.-%.lua:%d+: ", "")
      faults[#faults + 1] = "vim.g.segue." .. message
    elseif name == "integrations" then
      config.integrations = vim.tbl_extend("force", config.integrations, value)
    else
      config[name] = value
    end
  end
  return config, faults
end

--- The faults of `vim.g.segue`, one line each; empty if it is valid.
---@return string[]
function M.faults()
  local _, faults = validate(vim.g.segue or {})
  return faults
end

--- The settings in effect: the user's where they are valid, else the defaults. The user is notified
--- of each fault once.
---@return segue.Config
function M.get()
  local config, faults = validate(vim.g.segue or {})
  for _, fault in ipairs(faults) do
    if not notified[fault] then
      notified[fault] = true
      M.notify(fault .. " (see :help segue-configuration)", vim.log.levels.ERROR)
    end
  end
  return config
end

--- Schedule a message.
---@param message string
---@param level? integer One of |vim.log.levels| (default: INFO, which `vim.g.segue.notify` can disable)
function M.notify(message, level)
  level = level or vim.log.levels.INFO
  vim.schedule(function()
    if level > vim.log.levels.INFO or M.get().notify then
      require("segue.messages").show(message, level)
    end
  end)
end

return M
