--- Events as lines of Markdown: a heading for each message, and its content.

local format = require("segue.format")
local pieces = require("segue.pieces")
local text = require("segue.text")

local M = {}

--- How the heading of an event begins, by its type.
---@type table<string, string>
M.HEADINGS = {
  user_message = "You",
  text = "Assistant",
  tool_call = "Tool call",
  tool_result = "Tool result",
  skill_invocation = "Skill",
  system_context = "Context",
  out_of_band_output = "Output",
  thinking = "Thinking",
  plan = "Plan",
  permission = "Permission",
  turn_end = "End of turn",
}

---@param content any
---@return string[]
local function to_lines(content)
  local value = type(content) == "string" and content or vim.json.encode(content)
  return vim.split(value:gsub("\r\n?", "\n"), "\n", { plain = true })
end

---@param content any
---@param language? string
---@return string[]
local function code_block(content, language)
  local lines = to_lines(content)
  local longest_fence = 2
  for _, line in ipairs(lines) do
    longest_fence = math.max(longest_fence, #(line:match("^%s*(`+)") or ""))
  end
  local fence = ("`"):rep(longest_fence + 1)
  table.insert(lines, 1, fence .. (language or ""))
  table.insert(lines, fence)
  return lines
end

---@param content any
---@return string[]
local function block_quote(content)
  return vim.tbl_map(function(line)
    return ("> " .. line):gsub(" $", "")
  end, to_lines(content))
end

-- As a code span on one line, whatever it holds.
---@param name any
---@return string
local function code_span(name)
  local line = text.one_line(name)
  return line:find("`", 1, true) and ("`` %s ``"):format(line) or ("`%s`"):format(line)
end

-- An entry of a plan as an item of a task list.
---@param entry any
---@return string
local function plan_line(entry)
  local content = type(entry) == "table" and entry.content or entry
  local is_done = type(entry) == "table" and entry.status == "completed"
  return ("- [%s] %s"):format(is_done and "x" or " ", text.one_line(content))
end

---@type table<string, fun(data: table): string, string[]> heading and lines by event type
local renderers = {
  user_message = function(data)
    return M.HEADINGS.user_message, to_lines(data.content)
  end,
  text = function(data)
    return M.HEADINGS.text, to_lines(data.content)
  end,
  tool_call = function(data)
    return M.HEADINGS.tool_call .. ": " .. code_span(data.name), code_block(data.input, "json")
  end,
  tool_result = function(data)
    local suffix = data.is_error == true and ": error" or ""
    return M.HEADINGS.tool_result .. suffix, code_block(data.content)
  end,
  skill_invocation = function(data)
    return M.HEADINGS.skill_invocation .. ": " .. code_span(data.name), to_lines(data.content)
  end,
  system_context = function(data)
    return M.HEADINGS.system_context, block_quote(data.content)
  end,
  out_of_band_output = function(data)
    return M.HEADINGS.out_of_band_output .. ": " .. code_span(data.name), code_block(data.content)
  end,
  thinking = function(data)
    return M.HEADINGS.thinking, block_quote(data.content)
  end,
  plan = function(data)
    return M.HEADINGS.plan, vim.tbl_map(plan_line, data.entries)
  end,
  permission = function(data)
    local chosen = data.option ~= vim.NIL and data.option or data.outcome
    return M.HEADINGS.permission .. ": " .. code_span(chosen), {}
  end,
  turn_end = function(data)
    local error = data.error ~= vim.NIL and data.error or nil
    local heading = M.HEADINGS.turn_end .. ": " .. code_span(data.stop_reason)
    return heading, error and block_quote(error) or {}
  end,
}

---@param event segue.Event
---@return string heading, string[] lines
local function render_content(event)
  local renderer = renderers[event.type]
  if renderer and not event.corrupt then
    -- Another version may have stored other fields: such an event is shown as JSON.
    local ok, heading, lines = pcall(renderer, event.data)
    if ok then
      return heading, lines
    end
  end
  return code_span(event.type), code_block(event.data, "json")
end

---@param event segue.Event
---@param client? string
---@return string[]
local function render_event(event, client)
  local heading, content = render_content(event)
  local parts = { heading, format.time(event.created_at), client and text.one_line(client) }
  local lines = { "## " .. table.concat(parts, " · "), "" }
  vim.list_extend(lines, content)
  table.insert(lines, "")
  return lines
end

---@class segue.RenderedMessage An event, or the pieces of a message, below one heading
---@field events segue.Event[]
---@field line_count integer

--- Render events, oldest first. One that cannot be rendered says so.
---@param events segue.Event[]
---@param clients table<string, string> Names to show in headings, by invocation
---@return string[] lines, segue.RenderedMessage[] messages in them
function M.render(events, clients)
  local lines, messages = {}, {}
  for _, group in ipairs(pieces.group(events)) do
    local event = pieces.join(group)
    local ok, rendered = pcall(render_event, event, clients[event.invocation_id])
    if not ok then
      local message = "*An event could not be shown: %s*"
      rendered = { message:format(text.one_line(rendered)), "" }
    end
    table.insert(messages, { events = group, line_count = #rendered })
    vim.list_extend(lines, rendered)
  end
  return lines, messages
end

--- The message that has the event with this `seq`, and the offset of its heading in the lines.
---@generic T: segue.RenderedMessage
---@param messages T[]
---@param seq integer
---@return T? message, integer offset
function M.find(messages, seq)
  local offset = 0
  for _, message in ipairs(messages) do
    if message.events[#message.events].seq >= seq then
      return message, offset
    end
    offset = offset + message.line_count
  end
  return nil, offset
end

return M
