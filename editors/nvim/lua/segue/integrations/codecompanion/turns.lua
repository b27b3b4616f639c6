--- Where in a chat's buffer each turn of its conversation ends: a turn is a question of the user, with
--- all that follows until the next one.

local M = {}

local HEADING = "## "

local namespace = vim.api.nvim_create_namespace("segue_turns")

---@class segue.codecompanion.TurnEnd
---@field conversation? segue.Conversation nil until the proxy has stored it
---@field event_id? string Of the last event of the turn

---@type table<integer, table<integer, segue.codecompanion.TurnEnd>> by buffer, and by the mark at the heading that follows
local ends = {}

---@param bufnr integer
---@param row integer of the heading that follows, from 0
---@param turn_end segue.codecompanion.TurnEnd
local function mark(bufnr, row, turn_end)
  local id = vim.api.nvim_buf_set_extmark(bufnr, namespace, row, 0, {})
  ends[bufnr] = ends[bufnr] or {}
  ends[bufnr][id] = turn_end
end

--- Forget the turns of a chat.
---@param bufnr integer
function M.clear(bufnr)
  ends[bufnr] = nil
  if vim.api.nvim_buf_is_valid(bufnr) then
    vim.api.nvim_buf_clear_namespace(bufnr, namespace, 0, -1)
  end
end

---@param lines string[]
---@return integer? row of the last heading, from 0
local function last_heading(lines)
  for index = #lines, 1, -1 do
    if vim.startswith(lines[index], HEADING) then
      return index - 1
    end
  end
end

--- Mark the end of a turn: the chat is ready for the next question.
---@param bufnr integer
---@param turn_end segue.codecompanion.TurnEnd
function M.mark_last(bufnr, turn_end)
  local row = last_heading(vim.api.nvim_buf_get_lines(bufnr, 0, -1, false))
  if row then
    mark(bufnr, row, turn_end)
  end
end

---@param content string
---@return string
local function first_line(content)
  return vim.trim(content):match("^[^\r\n]*")
end

---@param lines string[]
---@param first integer
---@param question string
---@return integer? index of the heading of a question
local function find_heading(lines, first, question)
  local heading
  for index = first, #lines do
    if vim.startswith(lines[index], HEADING) then
      heading = index
    elseif heading and vim.trim(lines[index]) ~= "" then
      if vim.trim(lines[index]) == first_line(question) then
        return heading
      end
      heading = nil
    end
  end
end

---@param content string
---@return integer lines that a message takes at least, with its heading and an empty line
local function count_lines(content)
  return content == "" and 0 or select(2, vim.trim(content):gsub("\n", "")) + 3
end

--- Mark the ends of the turns of a chat that was restored. What follows the last of them is the
--- draft.
---@param bufnr integer
---@param conversation segue.Conversation
---@param turns segue.codecompanion.RestoredTurn[]
function M.mark_restored(bufnr, conversation, turns)
  local lines = vim.api.nvim_buf_get_lines(bufnr, 0, -1, false)
  local next_line = 1
  for index, turn in ipairs(turns) do
    for _, content in ipairs({ turn.question, turn.answer }) do
      next_line = next_line + count_lines(content)
    end
    local following = turns[index + 1]
    local row = last_heading(lines)
    if following then
      local heading = find_heading(lines, next_line, following.question)
      row = heading and heading - 1
      next_line = heading or next_line
    end
    if row then
      local turn_end = { conversation = conversation, event_id = turn.last_event_id }
      mark(bufnr, row, turn_end)
    end
  end
end

--- The turn at a line of a chat; nil after the last turn that has ended.
---@param bufnr integer
---@param line integer from 1
---@return segue.codecompanion.TurnEnd?
function M.at(bufnr, line)
  if line >= vim.api.nvim_buf_line_count(bufnr) then
    return nil
  end
  local found = vim.api.nvim_buf_get_extmarks(bufnr, namespace, { line, 0 }, -1, { limit = 1 })[1]
  return found and ends[bufnr] and ends[bufnr][found[1]]
end

return M
