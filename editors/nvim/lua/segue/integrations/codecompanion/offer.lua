--- The offer to go on with an earlier conversation, below the prompt of a new chat.

local guard = require("segue.integrations.codecompanion.guard")
local text = require("segue.text")

local M = {}

local namespace = vim.api.nvim_create_namespace("segue_offer")

---@type table<string, true> by workspace
local made = {}
---@type table<integer, "asked"|"shown"> by buffer
local state = {}

---@param bufnr integer
---@param first integer
---@param last integer
---@return boolean
local function is_typed(bufnr, first, last)
  -- CodeCompanion itself writes what is shared as a quotation.
  return vim.iter(vim.api.nvim_buf_get_lines(bufnr, first, last, false)):any(function(line)
    return line:find("^%s*[^%s>]") ~= nil
  end)
end

---@param bufnr integer
---@param session table as the wire has it
local function show(bufnr, session)
  local what = ("Segue: “%s”, %s, %s."):format(
    text.title({ title = session.title ~= vim.NIL and session.title or nil }),
    text.count(session.eventCount, "event"),
    text.age(session.updatedAt)
  )
  vim.api.nvim_buf_set_extmark(bufnr, namespace, vim.api.nvim_buf_line_count(bufnr) - 1, 0, {
    virt_lines = {
      { { "" } },
      { { what, "Comment" } },
      { { ":Segue resume", "Special" }, { " goes on with it; type to begin anew.", "Comment" } },
    },
  })
end

--- Take the offer back.
---@param bufnr integer
function M.withdraw(bufnr)
  if not state[bufnr] then
    return
  end
  state[bufnr] = nil
  vim.schedule(function()
    if vim.api.nvim_buf_is_valid(bufnr) then
      vim.api.nvim_buf_clear_namespace(bufnr, namespace, 0, -1)
    end
  end)
end

--- The chats that show an offer before the eyes of the person. Nothing was typed in them.
---@return integer[]
function M.visible()
  return vim.tbl_filter(function(bufnr)
    return state[bufnr] == "shown" and vim.fn.bufwinid(bufnr) ~= -1
  end, vim.tbl_keys(state))
end

---@param found table the result of `session/findResumable`
---@param is_used fun(id: string): boolean
---@return table? session as the wire has it
local function best(found, is_used)
  local fitting = { found.session ~= vim.NIL and found.session or nil }
  vim.list_extend(fitting, found.alternatives)
  for _, session in ipairs(fitting) do
    if not is_used(session.sessionId) then
      return session
    end
  end
end

--- Offer what may be resumed in a new, empty chat: once for each workspace.
---@param bufnr integer
---@param workspace string
---@param is_used fun(id: string): boolean Whether a chat goes on with that session already
function M.consider(bufnr, workspace, is_used)
  if made[workspace] then
    return
  end
  state[bufnr] = "asked"
  local on_change = guard.guarded(function(first, last)
    if state[bufnr] and is_typed(bufnr, first, last) then
      M.withdraw(bufnr)
    end
  end)
  vim.api.nvim_buf_attach(bufnr, false, {
    on_lines = function(_, _, _, first, _, last)
      on_change(first, last)
      return not state[bufnr]
    end,
    on_detach = function()
      state[bufnr] = nil
    end,
  })
  local params = {
    workspace = workspace,
    continueMinutes = require("segue.config").get().continue_minutes,
  }
  local on_found = guard.guarded(function(err, found)
    local session = not err and best(found, is_used)
    if session and state[bufnr] and not made[workspace] then
      made[workspace] = true
      state[bufnr] = "shown"
      show(bufnr, session)
    else
      state[bufnr] = nil
    end
  end)
  require("segue.server").request("session/findResumable", params, on_found)
end

return M
