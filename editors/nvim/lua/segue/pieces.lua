--- Messages in pieces: the one rule of which events are one message.

local M = {}

local IN_PIECES = { text = true, thinking = true }

---@param event segue.Event
---@return any message Of an event with text; nil if it is a whole message
local function message_of(event)
  local data = event.data
  if type(data) ~= "table" or type(data.content) ~= "string" or data.message == vim.NIL then
    return nil
  end
  return data.message
end

--- Whether an event is a further piece of the message of the event before it.
---@param before? segue.Event
---@param event segue.Event
---@return boolean
function M.continues(before, event)
  if not before or before.type ~= event.type or not IN_PIECES[event.type] then
    return false
  end
  local message = message_of(before)
  return message ~= nil and message == message_of(event)
end

--- Groups events, oldest first, by message: the pieces of one are a group, others are alone.
---@param events segue.Event[]
---@return segue.Event[][]
function M.group(events)
  local groups = {}
  for _, event in ipairs(events) do
    local last = groups[#groups]
    if last and M.continues(last[#last], event) then
      table.insert(last, event)
    else
      table.insert(groups, { event })
    end
  end
  return groups
end

--- The first of the pieces of a message, with the content of all.
---@param pieces segue.Event[]
---@return segue.Event
function M.join(pieces)
  local first = pieces[1]
  if #pieces == 1 then
    return first
  end
  local contents = {}
  for _, piece in ipairs(pieces) do
    table.insert(contents, piece.data.content)
  end
  local data = vim.tbl_extend("force", first.data, { content = table.concat(contents) })
  return vim.tbl_extend("force", first, { data = data })
end

return M
