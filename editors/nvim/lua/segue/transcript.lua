--- Read-only Markdown buffers `segue://SESSION-ID` that show a session, the newest event at the
--- end.

local format = require("segue.format")
local text = require("segue.text")

local M = {}

local load_newer ---@type fun(session: segue.Session)

local PAGE = 100
local SCHEME = "segue://"

---@class segue.TranscriptBuffer
---@field id string
---@field first_seq? integer Of the oldest event that is shown
---@field last_seq? integer Of the newest event that is shown
---@field has_more boolean Whether there are older events
---@field loading boolean
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
---@return string[]
local function render_event(event)
  local heading, content = render_content(event)
  local lines = { ("## %s · %s"):format(heading, format.time(event.created_at)), "" }
  vim.list_extend(lines, content)
  table.insert(lines, "")
  return lines
end

---@param events segue.Event[]
---@return string[]
local function render(events)
  local lines = {}
  for _, event in ipairs(events) do
    local ok, rendered = pcall(render_event, event)
    if not ok then
      local message = "*An event could not be shown: %s*"
      rendered = { message:format(text.one_line(rendered)), "" }
    end
    vim.list_extend(lines, rendered)
  end
  return lines
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
---@param has_more boolean
---@param id string
---@return string[]
local function header_lines(has_more, id)
  local start = ("*Start of conversation %s.*"):format(text.one_line(id))
  return { has_more and "*Scroll to the top to load older messages.*" or start, "" }
end

---@param buffer integer
---@param page { events: segue.Event[], has_more: boolean }
local function prepend_page(buffer, page)
  local state = buffers[buffer]
  state.has_more = page.has_more
  state.first_seq = page.events[1] and page.events[1].seq or state.first_seq
  local lines = vim.list_extend(header_lines(page.has_more, state.id), render(page.events))
  local added = #lines - 2
  local views = {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    views[window] = vim.api.nvim_win_call(window, vim.fn.winsaveview)
  end
  set_lines(buffer, 0, 2, lines)
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
---@param callback fun(page: { events: segue.Event[], has_more: boolean })
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
---@param page { events: segue.Event[], has_more: boolean }
local function show_newest_page(buffer, page)
  local state = buffers[buffer]
  state.has_more = page.has_more
  state.first_seq = page.events[1] and page.events[1].seq
  state.last_seq = page.events[1] and page.events[#page.events].seq
  local lines = vim.list_extend(header_lines(page.has_more, state.id), render(page.events))
  set_lines(buffer, 0, -1, lines)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    move_cursor_to_end(window, buffer)
  end
end

---@param buffer integer
---@param page { events: segue.Event[], has_more: boolean }
local function append_page(buffer, page)
  local state = buffers[buffer]
  local old_end = vim.api.nvim_buf_line_count(buffer)
  set_lines(buffer, -1, -1, render(page.events))
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
  buffers[buffer] = { id = id, has_more = false, loading = false }
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
end

--- Show a session: in the window that already shows it, else in a new one.
---@param id string
---@param mods? table of |nvim_cmd()|
function M.show(id, mods)
  local name = SCHEME .. id
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
