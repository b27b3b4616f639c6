--- Read-only Markdown buffers `segue://SESSION-ID` that show a session, the newest event at the
--- end.

local format = require("segue.format")
local text = require("segue.text")

local M = {}

local load_newer ---@type fun(session: segue.Session)

local PAGE = 100
local OWN_CLIENT = "Neovim"
local SCHEME = "segue://"

local namespace = vim.api.nvim_create_namespace("segue_transcript")

---@class segue.TranscriptBuffer
---@field id string
---@field first_seq? integer Of the oldest event that is shown
---@field last_seq? integer Of the newest event that is shown
---@field has_more boolean Whether there are older events
---@field loading boolean
---@field events table<integer, segue.Event> by the mark at the heading
---@field clients table<string, string> Names of the other clients, by invocation
---@field origin? string Who answered last
---@field reload_for? segue.Session Set if events were stored while a page was loading

---@type table<integer, segue.TranscriptBuffer> by buffer
local buffers = {}

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

---@type table<string, fun(data: table): string, string[]> heading and lines by event type
local renderers = {
  user_message = function(data)
    return "You", to_lines(data.content)
  end,
  text = function(data)
    return "Assistant", to_lines(data.content)
  end,
  tool_call = function(data)
    return "Tool call: " .. code_span(data.name), code_block(data.input, "json")
  end,
  tool_result = function(data)
    local is_error = data.is_error == true
    return is_error and "Tool result: error" or "Tool result", code_block(data.content)
  end,
  skill_invocation = function(data)
    return "Skill: " .. code_span(data.name), to_lines(data.content)
  end,
  system_context = function(data)
    return "Context", block_quote(data.content)
  end,
  out_of_band_output = function(data)
    return "Output: " .. code_span(data.name), code_block(data.content)
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

---@param state segue.TranscriptBuffer
---@param page segue.EventPage
---@return string[] lines, integer[] offsets of the events in them
local function render(state, page)
  for _, invocation in ipairs(page.invocations) do
    local client = invocation.client_name
    state.clients[invocation.id] = client ~= OWN_CLIENT and client or nil
  end
  local lines, offsets = {}, {}
  for _, event in ipairs(page.events) do
    local ok, rendered = pcall(render_event, event, state.clients[event.invocation_id])
    if not ok then
      local message = "*An event could not be shown: %s*"
      rendered = { message:format(text.one_line(rendered)), "" }
    end
    table.insert(offsets, #lines)
    vim.list_extend(lines, rendered)
  end
  return lines, offsets
end

---@param buffer integer
---@param row integer of the first line of the page, from 0
---@param events segue.Event[]
---@param offsets integer[]
local function mark_events(buffer, row, events, offsets)
  for index, event in ipairs(events) do
    local id = vim.api.nvim_buf_set_extmark(buffer, namespace, row + offsets[index], 0, {})
    buffers[buffer].events[id] = event
  end
end

---@param buffer integer
---@param first integer
---@param last integer
---@param lines string[]
local function set_lines(buffer, first, last, lines)
  vim.bo[buffer].modifiable = true
  local ok, err = pcall(vim.api.nvim_buf_set_lines, buffer, first, last, false, lines)
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].modified = false
  if not ok then
    error(err, 0)
  end
end

---@param window integer
---@param buffer integer
local function move_cursor_to_end(window, buffer)
  vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(buffer), 0 })
end

-- The first two lines of every buffer.
---@param state segue.TranscriptBuffer
---@return string[]
local function header_lines(state)
  if state.has_more then
    return { "*Scroll to the top to load older messages.*", "" }
  end
  local origin = state.origin and ", with " .. state.origin or ""
  return { ("*Start of conversation %s%s.*"):format(text.one_line(state.id), origin), "" }
end

---@param buffer integer
---@param page segue.EventPage
local function prepend_page(buffer, page)
  local state = buffers[buffer]
  state.has_more = page.has_more
  state.first_seq = page.events[1] and page.events[1].seq or state.first_seq
  local rendered, offsets = render(state, page)
  local lines = vim.list_extend(header_lines(state), rendered)
  local added = #lines - 2
  local views = {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    views[window] = vim.api.nvim_win_call(window, vim.fn.winsaveview)
  end
  set_lines(buffer, 0, 2, lines)
  mark_events(buffer, 2, page.events, offsets)
  -- Keep the visible lines where they are.
  for window, view in pairs(views) do
    view.lnum, view.topline = view.lnum + added, view.topline + added
    vim.api.nvim_win_call(window, function()
      vim.fn.winrestview(view)
    end)
  end
end

---@param buffer integer
---@param message string
local function show_error(buffer, message)
  message = "*Could not load the conversation: " .. text.one_line(message) .. "*"
  set_lines(buffer, 0, 1, { message })
end

---@param buffer integer
---@param range { before?: integer, after?: integer }
---@param callback fun(page: segue.EventPage)
local function load(buffer, range, callback)
  local state = buffers[buffer]
  state.loading = true
  local opts = { session_id = state.id, before = range.before, after = range.after, limit = PAGE }
  require("segue").events(opts, function(err, page)
    if buffers[buffer] ~= state then
      return
    end
    state.loading = false
    if err then
      show_error(buffer, err.message)
    else
      local ok, fault = pcall(callback, page)
      if not ok then
        show_error(buffer, tostring(fault))
      end
    end
    local session = state.reload_for
    if session then
      state.reload_for = nil
      load_newer(session)
    end
  end)
end

---@param buffer integer
local function load_older(buffer)
  local state = buffers[buffer]
  if state and state.has_more and not state.loading and vim.fn.line("w0") <= 2 then
    load(buffer, { before = state.first_seq }, function(page)
      prepend_page(buffer, page)
    end)
  end
end

---@param buffer integer
---@param page segue.EventPage
local function show_newest_page(buffer, page)
  local state = buffers[buffer]
  state.has_more = page.has_more
  state.first_seq = page.events[1] and page.events[1].seq
  state.last_seq = page.events[1] and page.events[#page.events].seq
  local rendered, offsets = render(state, page)
  local lines = vim.list_extend(header_lines(state), rendered)
  set_lines(buffer, 0, -1, lines)
  mark_events(buffer, 2, page.events, offsets)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    move_cursor_to_end(window, buffer)
  end
end

---@param buffer integer
---@param page segue.EventPage
local function append_page(buffer, page)
  local state = buffers[buffer]
  local old_end = vim.api.nvim_buf_line_count(buffer)
  local lines, offsets = render(state, page)
  set_lines(buffer, -1, -1, lines)
  mark_events(buffer, old_end, page.events, offsets)
  state.last_seq = page.events[1] and page.events[#page.events].seq or state.last_seq
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    -- Follow new events only where the cursor was at the end.
    if vim.api.nvim_win_get_cursor(window)[1] == old_end then
      move_cursor_to_end(window, buffer)
    end
  end
end

---@param session segue.Session
function load_newer(session)
  for buffer, state in pairs(buffers) do
    if state.id == session.id and state.loading then
      state.reload_for = session
    elseif state.id == session.id then
      load(buffer, { after = state.last_seq or 0 }, function(page)
        append_page(buffer, page)
        if page.has_more then
          load_newer(session)
        end
      end)
    end
  end
end

-- Who answered last: that of a session that is open here, else of one of the newest.
---@param id string
---@param callback fun(origin?: string)
local function find_origin(id, callback)
  local conversation = require("segue.registry").of_session(id)
  if conversation and conversation.record and conversation.record.id == id then
    return callback(format.origin(conversation.record))
  end
  require("segue").list({ cwd = false, archived = true }, function(_, page)
    for _, session in ipairs(page and page.sessions or {}) do
      if session.id == id then
        return callback(format.origin(session))
      end
    end
  end)
end

---@param buffer integer
local function show_origin(buffer)
  local state = buffers[buffer]
  find_origin(state.id, function(origin)
    state.origin = origin
    if buffers[buffer] == state and state.first_seq and not state.has_more then
      set_lines(buffer, 0, 2, header_lines(state))
    end
  end)
end

local is_subscribed = false

local function subscribe()
  if not is_subscribed then
    is_subscribed = true
    require("segue").on("appended", load_newer)
  end
end

--- Fill the buffer named `segue://SESSION-ID`, and keep it up to date with what this Neovim stores.
---@param buffer integer
function M.read(buffer)
  local id = vim.api.nvim_buf_get_name(buffer):sub(#SCHEME + 1)
  buffers[buffer] = { id = id, has_more = false, loading = false, events = {}, clients = {} }
  vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  vim.bo[buffer].buftype = "nofile"
  vim.bo[buffer].swapfile = false
  vim.bo[buffer].undolevels = -1
  vim.bo[buffer].filetype = "markdown"
  set_lines(buffer, 0, -1, { "*Loading …*" })

  local group = vim.api.nvim_create_augroup("segue_transcript_" .. buffer, { clear = true })
  vim.api.nvim_create_autocmd({ "CursorMoved", "WinScrolled" }, {
    group = group,
    buffer = buffer,
    callback = function()
      if vim.api.nvim_get_current_buf() == buffer then
        load_older(buffer)
      end
    end,
  })
  vim.api.nvim_create_autocmd("BufWipeout", {
    group = group,
    buffer = buffer,
    once = true,
    callback = function()
      buffers[buffer] = nil
      vim.api.nvim_del_augroup_by_id(group)
    end,
  })
  subscribe()
  load(buffer, {}, function(page)
    show_newest_page(buffer, page)
  end)
  show_origin(buffer)
end

---@class segue.Place A conversation that is shown in a buffer, and a turn of it
---@field session? { id: string, title?: string } nil before it is stored
---@field at? string Id of the last event of the turn; nil: the end of the conversation
---@field is_last boolean No other turn follows

--- The conversation that is shown in a buffer, and the turn at a line of it: a question of the user,
--- with all that follows until the next one.
---@param buffer integer
---@param line integer
---@return segue.Place? place nil if it is no transcript
function M.place(buffer, line)
  local state = buffers[buffer]
  if not state then
    return nil
  end
  local at
  local marks = vim.api.nvim_buf_get_extmarks(buffer, namespace, 0, -1, {})
  for _, mark in ipairs(marks) do
    local event = state.events[mark[1]]
    if at and mark[2] >= line and event.type == "user_message" then
      return { session = { id = state.id }, at = at, is_last = false }
    end
    at = event.id
  end
  return { session = { id = state.id }, at = at, is_last = true }
end

--- Show a session: in the window that already shows it, else in a new one; in the current window if
--- that shows the session whose place it takes.
---@param id string
---@param mods? table of |nvim_cmd()|
---@param replaced_id? string
function M.show(id, mods, replaced_id)
  local name = SCHEME .. id
  if replaced_id and vim.api.nvim_buf_get_name(0) == SCHEME .. replaced_id then
    return vim.cmd.edit({ args = { name }, magic = { file = false } })
  end
  -- Not `bufwinid(name)`, which takes a part of a name, and a pattern.
  local window = vim.iter(vim.api.nvim_tabpage_list_wins(0)):find(function(each)
    return vim.api.nvim_buf_get_name(vim.api.nvim_win_get_buf(each)) == name
  end)
  if window then
    vim.api.nvim_set_current_win(window)
    vim.cmd.edit()
  else
    vim.cmd({ cmd = "split", args = { name }, mods = mods, magic = { file = false } })
  end
end

return M
