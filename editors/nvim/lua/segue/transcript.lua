--- Read-only Markdown buffers `segue://SESSION-ID/TITLE` that show a session, the newest event at the
--- end.

local code_highlighting = require("segue.code_highlighting")
local following = require("segue.following")
local format = require("segue.format")
local matches = require("segue.matches")
local pieces = require("segue.pieces")
local rendering = require("segue.rendering")
local text = require("segue.text")

local M = {}

local load_newer ---@type fun(session: { id: string })
local load_older ---@type fun(buffer: integer)

local PAGE = 100
local LARGE_PAGE = 1000
local EVENTS_BEFORE_TARGET = 20
local OWN_CLIENT = "Neovim"
local SCHEME = "segue://"

local namespace = vim.api.nvim_create_namespace("segue_transcript")

---@class segue.TranscriptBuffer
---@field id string
---@field first_seq? integer Of the oldest event that is shown
---@field last_seq? integer Of the newest event that is shown
---@field has_more boolean Whether there are older events
---@field loading boolean
---@field messages segue.ShownMessage[] in their order
---@field clients table<string, string> Names of the other clients, by invocation
---@field origin? string Who answered last
---@field target? segue.TranscriptTarget
---@field reload_for? { id: string } Set if events were stored while a page was loading

---@class segue.ShownMessage: segue.RenderedMessage
---@field mark integer at the heading

---@class segue.TranscriptTarget Where the cursor is put, in place of the end
---@field seq? integer Of an event; nil: the beginning
---@field words? string[] What to highlight in it

---@type table<integer, segue.TranscriptBuffer> by buffer
local buffers = {}

---@type table<string, segue.TranscriptTarget> by session, until its buffer is read
local targets = {}

---@param state segue.TranscriptBuffer
---@param page segue.EventPage
local function note_clients(state, page)
  for _, invocation in ipairs(page.invocations) do
    local client = invocation.client_name
    state.clients[invocation.id] = client ~= OWN_CLIENT and client or nil
  end
end

---@param buffer integer
---@param row integer of the first line of the first message, from 0
---@param messages segue.ShownMessage[]
local function mark_messages(buffer, row, messages)
  for _, message in ipairs(messages) do
    message.mark = vim.api.nvim_buf_set_extmark(buffer, namespace, row, 0, {})
    row = row + message.line_count
  end
end

-- The lines of the message stay in the buffer: they are replaced when it is rendered with others.
---@param buffer integer
---@param index integer
---@return segue.ShownMessage
local function take_message(buffer, index)
  local message = table.remove(buffers[buffer].messages, index)
  vim.api.nvim_buf_del_extmark(buffer, namespace, message.mark)
  return message
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
  note_clients(state, page)
  local events, replaced = vim.list_slice(page.events), 0
  local oldest = state.messages[1]
  if oldest and pieces.continues(events[#events], oldest.events[1]) then
    replaced = take_message(buffer, 1).line_count
    vim.list_extend(events, oldest.events)
  end
  local rendered, messages = rendering.render(events, state.clients)
  local lines = vim.list_extend(header_lines(state), rendered)
  local added = #lines - 2 - replaced
  local views = {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    views[window] = vim.api.nvim_win_call(window, vim.fn.winsaveview)
  end
  set_lines(buffer, 0, 2 + replaced, lines)
  code_highlighting.add(buffer, lines)
  mark_messages(buffer, 2, messages)
  state.messages = vim.list_extend(messages, state.messages)
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
---@param range { before?: integer, after?: integer, limit?: integer }
---@param callback fun(page: segue.EventPage)
local function load(buffer, range, callback)
  local state = buffers[buffer]
  state.loading = true
  local opts = vim.tbl_extend("keep", { session_id = state.id }, range, { limit = PAGE })
  require("segue").events(opts, function(err, page)
    if buffers[buffer] ~= state then
      return
    end
    state.loading = false
    local ok, fault = not err, err and err.message
    if ok then
      ok, fault = pcall(callback, page)
    end
    if not ok then
      show_error(buffer, tostring(fault))
    end
    local session = state.reload_for
    if session then
      state.reload_for = nil
      load_newer(session)
    elseif ok and vim.api.nvim_get_current_buf() == buffer then
      load_older(buffer) -- if its top was reached meanwhile
    end
  end)
end

---@param buffer integer
function load_older(buffer)
  local state = buffers[buffer]
  if state and state.has_more and not state.loading and vim.fn.line("w0") <= 2 then
    load(buffer, { before = state.first_seq }, function(page)
      prepend_page(buffer, page)
    end)
  end
end

-- The heading is at the top of the window, and the cursor at what was found below it, with no fold
-- in the way.
---@param buffer integer
---@param target segue.TranscriptTarget
local function move_cursor_to_target(buffer, target)
  local heading, line = 1, 1
  local message, offset = rendering.find(buffers[buffer].messages, target.seq or 0)
  if message and target.seq then
    local row = 2 + offset
    heading = row + 1
    local last = row + message.line_count
    line = (matches.highlight(buffer, row, last, target.words or {}) or row) + 1
  end
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    vim.api.nvim_win_call(window, function()
      vim.fn.winrestview({ topline = heading, lnum = line, col = 0 })
      vim.cmd("normal! zv")
    end)
  end
end

---@param buffer integer
---@param page segue.EventPage
local function show_first_page(buffer, page)
  local state = buffers[buffer]
  local oldest, newest = page.events[1], page.events[#page.events]
  state.has_more = oldest ~= nil and oldest.seq > 1
  state.first_seq, state.last_seq = oldest and oldest.seq, newest and newest.seq
  note_clients(state, page)
  local rendered, messages = rendering.render(page.events, state.clients)
  local lines = vim.list_extend(header_lines(state), rendered)
  set_lines(buffer, 0, -1, lines)
  code_highlighting.add(buffer, lines)
  mark_messages(buffer, 2, messages)
  state.messages = messages
  if state.target then
    move_cursor_to_target(buffer, state.target)
    return page.has_more and load_newer(state)
  end
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    move_cursor_to_end(window, buffer)
  end
end

---@param buffer integer
---@param page segue.EventPage
local function append_page(buffer, page)
  local state = buffers[buffer]
  local old_end = vim.api.nvim_buf_line_count(buffer)
  local following = vim.tbl_filter(function(window)
    return vim.api.nvim_win_get_cursor(window)[1] == old_end
  end, vim.fn.win_findbuf(buffer))
  note_clients(state, page)
  local events, row = page.events, old_end
  local newest = state.messages[#state.messages]
  if newest and events[1] and pieces.continues(newest.events[#newest.events], events[1]) then
    row = row - take_message(buffer, #state.messages).line_count
    events = vim.list_extend(vim.list_slice(newest.events), events)
  end
  local lines, messages = rendering.render(events, state.clients)
  set_lines(buffer, row, -1, lines)
  code_highlighting.add(buffer, lines)
  mark_messages(buffer, row, messages)
  vim.list_extend(state.messages, messages)
  state.last_seq = page.events[1] and page.events[#page.events].seq or state.last_seq
  -- Follow new events only where the cursor was at the end.
  for _, window in ipairs(following) do
    move_cursor_to_end(window, buffer)
  end
end

---@param session { id: string }
function load_newer(session)
  for buffer, state in pairs(buffers) do
    if state.id == session.id and state.loading then
      state.reload_for = session
    elseif state.id == session.id then
      load(buffer, { after = state.last_seq or 0, limit = LARGE_PAGE }, function(page)
        append_page(buffer, page)
        if page.has_more then
          load_newer(session)
        end
      end)
    end
  end
end

-- A session that is open here, else one of the newest.
---@param id string
---@param callback fun(session: segue.SessionInfo|segue.Session)
local function find_session(id, callback)
  local conversation = require("segue.registry").of_session(id)
  if conversation and conversation.record and conversation.record.id == id then
    return callback(conversation.record)
  end
  local opts = { cwd = false, archived = true, limit = LARGE_PAGE }
  require("segue").list(opts, function(_, page)
    for _, session in ipairs(page and page.sessions or {}) do
      if session.id == id then
        return callback(session)
      end
    end
  end)
end

-- Tablines and statuslines show the last part of a name. In it, a slash would begin another one.
---@param buffer integer
---@param title string
local function set_name(buffer, title)
  local old_name = vim.api.nvim_buf_get_name(buffer)
  local name = ("%s%s/%s"):format(SCHEME, buffers[buffer].id, title:gsub("/", "∕"))
  -- It fails if another buffer shows the session, too, and has that name.
  if name == old_name or not pcall(vim.api.nvim_buf_set_name, buffer, name) then
    return
  end
  for _, other in ipairs(vim.api.nvim_list_bufs()) do -- Neovim keeps one with the old name
    if other ~= buffer and vim.api.nvim_buf_get_name(other) == old_name then
      pcall(vim.api.nvim_buf_delete, other, { force = true })
    end
  end
end

---@param buffer integer
local function show_session(buffer)
  local state = buffers[buffer]
  find_session(state.id, function(session)
    if buffers[buffer] ~= state then
      return
    end
    state.origin = format.origin(session)
    if session.title then
      set_name(buffer, format.title(session))
    end
    if state.first_seq and not state.has_more then
      set_lines(buffer, 0, 2, header_lines(state))
    end
  end)
end

--- Give the buffers of a session its new title.
---@param session { id: string, title?: string }
function M.show_title(session)
  for buffer, state in pairs(buffers) do
    if state.id == session.id then
      set_name(buffer, format.title(session))
    end
  end
end

-- Only while it is shown: the server looks for changes meanwhile.
---@param buffer integer
local function follow(buffer)
  local state = buffers[buffer]
  if #vim.fn.win_findbuf(buffer) == 0 then
    return
  end
  following.follow(state.id, {
    known_seq = function()
      return state.last_seq or 0
    end,
    on_append = function()
      load_newer(state)
    end,
  })
end

-- What a model thought and planned, what it was told by programs, and what tools did.
local FOLDED = { "Thinking", "Plan", "Context", "Tool call", "Tool result", "Output" }

--- For 'foldexpr': what is not said to the user, or by the user, is folded.
---@return string
function M.fold()
  -- Other lines that begin with "## " are part of a message, or of a tool's output.
  local heading = vim.fn.getline(vim.v.lnum):match("^## (.+) · %d%d%d%d%-%d%d%-%d%d %d%d:%d%d")
  if not heading then
    return "="
  end
  local kind = heading:match("^[^:]+")
  return vim.list_contains(FOLDED, kind) and ">1" or "0"
end

--- For 'foldtext': the heading, and how much is below it.
---@return [string, string][]
function M.fold_text()
  local first, last = vim.v.foldstart, vim.v.foldend
  local heading = vim.fn.getline(first):gsub("^## ", "")
  local count = format.count(math.max(0, last - first - 2), "line")
  return { { "▸ " .. heading, "Folded" }, { " · " .. count .. " ", "Folded" } }
end

-- In a window that shows something else later, its own folding comes back: they are local options.
---@param buffer integer
local function set_window_options(buffer)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    local options = vim.wo[window][0]
    options.foldmethod = "expr"
    options.foldexpr = "v:lua.require'segue.transcript'.fold()"
    options.foldtext = "v:lua.require'segue.transcript'.fold_text()"
    options.foldlevel = 0
    options.wrap, options.linebreak = true, true
  end
end

---@param buffer integer
local function unfollow(buffer)
  local state = buffers[buffer]
  for other, other_state in pairs(buffers) do
    if other ~= buffer and other_state.id == state.id and #vim.fn.win_findbuf(other) > 0 then
      return follow(other)
    end
  end
  following.unfollow(state.id)
end

--- Fill the buffer named `segue://SESSION-ID` or `segue://SESSION-ID/TITLE`, and keep it up to date with what any editor stores.
---@param buffer integer
function M.read(buffer)
  local id = vim.api.nvim_buf_get_name(buffer):sub(#SCHEME + 1):match("^[^/]*")
  local target = targets[id]
  targets[id] = nil
  buffers[buffer] = {
    id = id,
    has_more = false,
    loading = false,
    messages = {},
    clients = {},
    target = target,
  }
  vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  vim.bo[buffer].buftype = "nofile"
  vim.bo[buffer].swapfile = false
  vim.bo[buffer].undolevels = -1
  vim.bo[buffer].filetype = "markdown"
  code_highlighting.reset(buffer)
  set_lines(buffer, 0, -1, { "*Loading …*" })
  set_window_options(buffer)

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
  vim.api.nvim_create_autocmd("BufWinEnter", {
    group = group,
    buffer = buffer,
    callback = function()
      set_window_options(buffer)
      if buffers[buffer].last_seq then
        follow(buffer)
      end
    end,
  })
  vim.api.nvim_create_autocmd("BufWinLeave", {
    group = group,
    buffer = buffer,
    callback = function()
      unfollow(buffer)
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
  local before_target = target and math.max(0, (target.seq or 1) - 1 - EVENTS_BEFORE_TARGET)
  load(buffer, { after = before_target }, function(page)
    show_first_page(buffer, page)
    follow(buffer)
  end)
  show_session(buffer)
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
  for _, message in ipairs(state.messages) do
    local row = vim.api.nvim_buf_get_extmark_by_id(buffer, namespace, message.mark, {})[1]
    local event = message.events[#message.events]
    if at and row >= line and event.type == "user_message" then
      return { session = { id = state.id }, at = at, is_last = false }
    end
    at = event.id
  end
  return { session = { id = state.id }, at = at, is_last = true }
end

-- The name of the buffer of a session, if there is one, else that of a new one.
---@param id string
---@return string
local function name_of(id)
  for buffer, state in pairs(buffers) do
    if state.id == id then
      return vim.api.nvim_buf_get_name(buffer)
    end
  end
  return SCHEME .. id
end

---@param id string
---@param mods? table of |nvim_cmd()|
local function show_in_window(id, mods)
  local window = vim.iter(vim.api.nvim_tabpage_list_wins(0)):find(function(each)
    local state = buffers[vim.api.nvim_win_get_buf(each)]
    return state and state.id == id
  end)
  if window then
    vim.api.nvim_set_current_win(window)
    vim.cmd.edit()
  else
    vim.cmd({ cmd = "split", args = { name_of(id) }, mods = mods, magic = { file = false } })
  end
end

--- Show a session: in the window that already shows it, else in a new one; in the current window if
--- that shows the session whose place it takes.
---@param id string
---@param mods? table of |nvim_cmd()|
---@param replaced_id? string
function M.show(id, mods, replaced_id)
  local state = buffers[vim.api.nvim_get_current_buf()]
  if replaced_id and state and state.id == replaced_id then
    return vim.cmd.edit({ args = { name_of(id) }, magic = { file = false } })
  end
  show_in_window(id, mods)
end

--- Show a session as `show` does, at what a search has found: at the event, else at the beginning.
---@param hit segue.SearchHit
---@param mods? table of |nvim_cmd()|
function M.show_hit(hit, mods)
  local id = hit.session.id
  targets[id] = { seq = hit.event and hit.event.seq, words = matches.words(hit) }
  show_in_window(id, mods)
  if targets[id] then -- the buffer was hidden, and was not read again
    vim.cmd.edit()
  end
end

return M
