--- The offer to resume an earlier session, shown as virtual lines below the prompt of a new chat.

local error_handler = require("segue.integrations.error_handler")
local format = require("segue.format")
local text = require("segue.text")

local M = {}

local namespace = vim.api.nvim_create_namespace("segue_offer")

---@type table<string, true> workspaces in which an offer was shown
local offered = {}
---@type table<integer, { session_id?: string }> by buffer; with the id once it is shown
local state = {}

---@param bufnr integer
---@param first integer
---@param last integer
---@return boolean
local function has_typed_text(bufnr, first, last)
  -- Lines with ">" are written by CodeCompanion itself, for shared files.
  return vim.iter(vim.api.nvim_buf_get_lines(bufnr, first, last, false)):any(function(line)
    return line:find("^%s*[^%s>]") ~= nil
  end)
end

-- Virtual lines are cut at the edge of the window.
---@param bufnr integer
---@return integer cells
local function line_width(bufnr)
  local window = vim.fn.bufwinid(bufnr)
  local info = window ~= -1 and vim.fn.getwininfo(window)[1]
  return info and info.width - info.textoff or vim.o.columns
end

---@param bufnr integer
---@param session table in the protocol's form
local function show(bufnr, session)
  local title = format.title({ title = session.title ~= vim.NIL and session.title or nil })
  local count, age = format.count(session.eventCount, "event"), format.age(session.updatedAt)
  local description = ("Segue: “%s”, %s, %s."):format(title, count, age)
  local lines = { { { "" } } }
  for _, line in ipairs(text.wrap(description, line_width(bufnr))) do
    table.insert(lines, { { line, "Comment" } })
  end
  table.insert(lines, { { ":Segue resume", "Special" }, { " resumes it at once.", "Comment" } })
  table.insert(lines, { { ":Segue", "Special" }, { " lists all. Type to begin anew.", "Comment" } })
  local last_row = vim.api.nvim_buf_line_count(bufnr) - 1
  vim.api.nvim_buf_set_extmark(bufnr, namespace, last_row, 0, { virt_lines = lines })
end

--- Remove the offer of a chat, if it has one.
---@param bufnr integer
function M.remove(bufnr)
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

--- The buffers of the chats that show an offer in a window. Nothing was typed in them.
---@return integer[]
function M.visible_buffers()
  return vim.tbl_filter(function(bufnr)
    return state[bufnr].session_id and vim.fn.bufwinid(bufnr) ~= -1
  end, vim.tbl_keys(state))
end

--- The session that is offered where the user can see it, first of all in the current buffer.
---@return string? id
function M.visible_session()
  local buffers = M.visible_buffers()
  local current = vim.api.nvim_get_current_buf()
  local bufnr = vim.list_contains(buffers, current) and current or buffers[1]
  return bufnr and state[bufnr].session_id
end

---@param found table the result of `session/findResumable`
---@param is_open fun(id: string): boolean
---@return table? session in the protocol's form
local function best_candidate(found, is_open)
  local candidates = { found.session ~= vim.NIL and found.session or nil }
  vim.list_extend(candidates, found.alternatives)
  for _, session in ipairs(candidates) do
    if not is_open(session.sessionId) then
      return session
    end
  end
end

--- Show an offer in a new chat if a session can be resumed, at most once for each workspace. It is
--- removed as soon as something is typed.
---@param bufnr integer
---@param workspace string
---@param is_open fun(id: string): boolean Whether a chat already continues this session
function M.show_if_resumable(bufnr, workspace, is_open)
  if offered[workspace] then
    return
  end
  state[bufnr] = {}
  local on_change = error_handler.protect(function(first, last)
    if state[bufnr] and has_typed_text(bufnr, first, last) then
      M.remove(bufnr)
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
    workspace = require("segue.workspace").to_wire(workspace),
    continueMinutes = require("segue.config").get().continue_minutes,
  }
  local on_found = error_handler.protect(function(err, found)
    local session = not err and best_candidate(found, is_open)
    require("segue.relocation").mention(not err and found.moved or nil)
    if session and state[bufnr] and not offered[workspace] then
      offered[workspace] = true
      state[bufnr].session_id = session.sessionId
      show(bufnr, session)
    else
      state[bufnr] = nil
    end
  end)
  require("segue.server").request("session/findResumable", params, on_found)
end

return M
