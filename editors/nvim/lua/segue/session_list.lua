--- The buffer of |:Segue|: a list of sessions that keeps itself up to date, with keys for what can be
--- done with the one under the cursor.

local config = require("segue.config")
local following = require("segue.following")
local search_rows = require("segue.search_rows")
local session_actions = require("segue.session_actions")
local session_rows = require("segue.session_rows")
local text = require("segue.text")
local workspaces = require("segue.workspace")

local M = {}

local SCHEME = "segue-list://"
local EVERYWHERE = "all"
local PAGE = 100
local LARGEST_PAGE = 1000
local REFRESH_MS = 100
local MIN_FOLDER_CELLS = 20

local namespace = vim.api.nvim_create_namespace("segue_list")

---@class segue.SessionListBuffer
---@field cwd string|false A directory; false: all workspaces
---@field archived boolean Whether archived ones are shown, too
---@field wanted integer How many sessions to load
---@field sessions? segue.SessionInfo[] nil until they are loaded
---@field has_more boolean Whether there are older ones
---@field loading boolean
---@field outdated boolean Something changed while they were loading
---@field refreshing boolean A refresh is scheduled
---@field rows segue.SessionRow[] by line

---@type table<integer, segue.SessionListBuffer> by buffer
local buffers = {}

---@param state segue.SessionListBuffer
---@return segue.SessionRow[]
local function header_rows(state)
  local where = "All conversations"
  if state.cwd then
    local cells = math.max(MIN_FOLDER_CELLS, vim.o.columns - #"Conversations of " - 1)
    local folder = text.one_line(vim.fn.fnamemodify(state.cwd, ":~"))
    where = "Conversations of " .. text.truncate_start(folder, cells)
  end
  return {
    { chunks = { { where, "SegueTitle" } } },
    { chunks = { { "g? shows the keys", "SegueDetail" } } },
    { chunks = { { "" } } },
  }
end

---@param rows segue.SessionRow[]
---@param lines string[]
local function add_lines(rows, lines)
  for _, line in ipairs(lines) do
    table.insert(rows, { chunks = { { line } } })
  end
end

---@param state segue.SessionListBuffer
---@return string[]
local function empty_lines(state)
  local lines = {
    state.cwd and "There is no conversation in this workspace yet." or "There is no conversation yet.",
    "",
    vim.fn.exists(":CodeCompanionChat") == 2 and ":CodeCompanionChat opens a chat, which is recorded."
      or "Chats of codecompanion.nvim and others are recorded.",
  }
  if state.cwd then
    table.insert(lines, ":Segue! lists those of all workspaces.")
  end
  if not state.archived then
    table.insert(lines, "A shows the archived ones, too.")
  end
  table.insert(lines, "`segue import` stores those of Claude Code, Codex …")
  table.insert(lines, "See :help segue-integrations.")
  return lines
end

---@param state segue.SessionListBuffer
---@return segue.SessionRow[]
local function rows_of(state)
  local rows = header_rows(state)
  if not state.sessions then
    add_lines(rows, { "Loading …" })
  elseif #state.sessions == 0 then
    add_lines(rows, empty_lines(state))
  else
    local current = require("segue").current()
    vim.list_extend(rows, session_rows.rows(state.sessions, {
      now = os.time(),
      current_id = current and current.id,
      with_folder = not state.cwd,
    }))
  end
  if state.has_more then
    add_lines(rows, { "", "Older ones are loaded when you scroll down." })
  end
  return rows
end

---@param buffer integer
---@param rows segue.SessionRow[]
local function set_rows(buffer, rows)
  local lines, marks = {}, {}
  for row, each in ipairs(rows) do
    local line, highlights = search_rows.flatten(each.chunks)
    lines[row] = line
    for _, highlight in ipairs(highlights) do
      table.insert(marks, { row = row - 1, highlight = highlight })
    end
  end
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].modifiable, vim.bo[buffer].modified = false, false
  vim.api.nvim_buf_clear_namespace(buffer, namespace, 0, -1)
  for _, mark in ipairs(marks) do
    vim.api.nvim_buf_set_extmark(buffer, namespace, mark.row, mark.highlight.from, {
      end_col = mark.highlight.to,
      hl_group = mark.highlight.group,
    })
  end
end

---@param rows segue.SessionRow[]
---@param id? string
---@param line integer where it was
---@return integer line of the session; of one near where it was, if it is gone
local function line_of(rows, id, line)
  for number, row in ipairs(rows) do
    if row.session and row.session.id == id then
      return number
    end
  end
  for _, number in ipairs(vim.list_extend(vim.fn.range(line, #rows), vim.fn.range(#rows, 1, -1))) do
    if rows[number] and rows[number].session and (number >= line or id) then
      return number
    end
  end
  return math.min(math.max(1, line), #rows)
end

-- The cursor stays on its session, and the session where it is in the window.
---@param buffer integer
local function render(buffer)
  local state = buffers[buffer]
  local views = {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    local view = vim.api.nvim_win_call(window, vim.fn.winsaveview)
    local row = state.rows[view.lnum]
    views[window] = { view = view, id = row and row.session and row.session.id }
  end
  local is_first = not vim.iter(state.rows):any(function(row)
    return row.session ~= nil
  end)
  state.rows = rows_of(state)
  set_rows(buffer, state.rows)
  for window, saved in pairs(views) do
    local view = saved.view
    local line = line_of(state.rows, saved.id, is_first and 1 or view.lnum)
    view.topline = math.max(1, view.topline + line - view.lnum)
    view.lnum = line
    vim.api.nvim_win_call(window, function()
      vim.fn.winrestview(is_first and { topline = 1, lnum = line, col = 0 } or view)
    end)
  end
end

---@param buffer integer
---@param err segue.Error
local function show_error(buffer, err)
  local state = buffers[buffer]
  state.rows = header_rows(state)
  add_lines(state.rows, vim.split("The conversations cannot be listed: " .. err.message, "\n"))
  local server = require("segue.server")
  if err.kind == "ServerNotFound" then
    add_lines(state.rows, { "", "To install the server:", server.how_to_install() })
  end
  add_lines(state.rows, { "", "R tries again; :checkhealth segue says more." })
  set_rows(buffer, state.rows)
end

---@param state segue.SessionListBuffer
---@param cursor? string
---@param loaded integer
---@param callback function
local function request_page(state, cursor, loaded, callback)
  require("segue").list({
    cwd = state.cwd,
    archived = state.archived,
    cursor = cursor,
    limit = math.min(LARGEST_PAGE, math.max(1, state.wanted - loaded)),
  }, callback)
end

---@param buffer integer
local function load(buffer)
  local state = buffers[buffer]
  if state.loading then
    state.outdated = true
    return
  end
  state.loading, state.outdated = true, false
  local sessions, known = {}, {}
  local function on_page(err, page)
    if buffers[buffer] ~= state then
      return
    elseif err then
      state.loading = false
      return show_error(buffer, err)
    end
    for _, session in ipairs(page.sessions) do
      if not known[session.id] then -- it may have moved from one page to the next
        known[session.id] = true
        table.insert(sessions, session)
      end
    end
    if page.next_cursor and #sessions < state.wanted then
      return request_page(state, page.next_cursor, #sessions, on_page)
    end
    state.loading = false
    state.sessions, state.has_more = sessions, page.next_cursor ~= nil
    session_actions.remember(sessions)
    render(buffer)
    if state.outdated then
      load(buffer)
    end
  end
  request_page(state, nil, 0, on_page)
end

-- Many changes may come at once, as while an answer is stored in pieces.
---@param buffer integer
local function refresh(buffer)
  local state = buffers[buffer]
  if not state or state.refreshing then
    return
  end
  state.refreshing = true
  vim.defer_fn(function()
    state.refreshing = false
    if buffers[buffer] == state then
      load(buffer)
    end
  end, REFRESH_MS)
end

---@param buffer integer
local function load_more_at_end(buffer)
  local state = buffers[buffer]
  local is_wanted = state and state.has_more and not state.loading
  if is_wanted and vim.fn.line("w$") >= vim.api.nvim_buf_line_count(buffer) - 2 then
    state.wanted = #state.sessions + PAGE
    load(buffer)
  end
end

---@param buffer integer
---@param window integer
local function close(buffer, window)
  if not pcall(vim.api.nvim_win_close, window, false) then
    vim.api.nvim_buf_delete(buffer, { force = true }) -- in the only window
  end
end

---@class segue.SessionListKey
---@field lhs string
---@field description string
---@field of_session? fun(session: segue.SessionInfo)
---@field of_list? fun(buffer: integer)

-- Show what the keys do, in a floating window.
---@param keys segue.SessionListKey[]
local function show_keys(keys)
  local lines = {}
  for _, key in ipairs(keys) do
    table.insert(lines, (" %-5s %s "):format(key.lhs, key.description))
  end
  local buffer = vim.api.nvim_create_buf(false, true)
  vim.api.nvim_buf_set_lines(buffer, 0, -1, false, lines)
  vim.bo[buffer].modifiable, vim.bo[buffer].bufhidden = false, "wipe"
  local width = math.min(44, vim.o.columns - 4)
  local height = math.min(#lines, vim.o.lines - 4)
  local window = vim.api.nvim_open_win(buffer, true, {
    relative = "editor",
    row = math.max(0, math.floor((vim.o.lines - height) / 2) - 1),
    col = math.max(0, math.floor((vim.o.columns - width) / 2)),
    width = width,
    height = height,
    style = "minimal",
    border = "rounded",
    title = " Keys ",
  })
  local function close_window()
    pcall(vim.api.nvim_win_close, window, true)
  end
  for _, lhs in ipairs({ "q", "<Esc>", "g?" }) do
    vim.keymap.set("n", lhs, close_window, { buffer = buffer, nowait = true })
  end
  vim.api.nvim_create_autocmd("WinLeave", { buffer = buffer, once = true, callback = close_window })
end

local KEYS ---@type segue.SessionListKey[]
KEYS = {
  {
    lhs = "<CR>",
    description = "resume it",
    of_session = function(session)
      -- First: a chat belongs to the buffer from which it is opened.
      pcall(vim.api.nvim_win_close, 0, false)
      session_actions.resume(session.id, {})
    end,
  },
  {
    lhs = "s",
    description = "show its transcript",
    of_session = function(session)
      require("segue.transcript").show(session.id, {})
    end,
  },
  {
    lhs = "f",
    description = "go on in a copy of it (fork)",
    of_session = function(session)
      session_actions.fork({ session_id = session.id }, {})
    end,
  },
  {
    lhs = "r",
    description = "rename it",
    of_session = function(session)
      session_actions.rename(session)
    end,
  },
  {
    lhs = "a",
    description = "archive it, or bring it back",
    of_session = function(session)
      if session.archived_at then
        session_actions.unarchive(session.id)
      else
        session_actions.archive(session.id)
      end
    end,
  },
  {
    lhs = "d",
    description = "delete it, after confirmation",
    of_session = function(session)
      session_actions.delete(session.id)
    end,
  },
  {
    lhs = "/",
    description = "search the conversations",
    of_list = function(buffer)
      require("segue.search").open({
        query = "",
        everywhere = not buffers[buffer].cwd,
        mods = {},
      })
    end,
  },
  {
    lhs = "A",
    description = "show the archived ones, too, or not",
    of_list = function(buffer)
      buffers[buffer].archived = not buffers[buffer].archived
      load(buffer)
    end,
  },
  {
    lhs = "R",
    description = "reload the list",
    of_list = function(buffer)
      require("segue.server").reset_failure()
      load(buffer)
    end,
  },
  {
    lhs = "g?",
    description = "show or hide these keys",
    of_list = function()
      show_keys(KEYS)
    end,
  },
  {
    lhs = "q",
    description = "close the list",
    of_list = function(buffer)
      close(buffer, vim.api.nvim_get_current_win())
    end,
  },
}

---@param buffer integer
local function map_keys(buffer)
  for _, key in ipairs(KEYS) do
    vim.keymap.set("n", key.lhs, function()
      if key.of_list then
        return key.of_list(buffer)
      end
      local row = buffers[buffer].rows[vim.fn.line(".")]
      if row and row.session then
        return key.of_session(row.session)
      end
      config.notify("put the cursor on a conversation", vim.log.levels.WARN)
    end, { buffer = buffer, nowait = true, desc = "Segue: " .. key.description })
  end
end

---@param buffer integer
local function set_window_options(buffer)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    local options = vim.wo[window][0]
    -- A title is shown whole: it goes on below itself.
    options.wrap, options.linebreak, options.breakindent = true, true, true
    options.breakindentopt = "shift:" .. session_rows.TITLE_COLUMN
    options.number, options.relativenumber, options.signcolumn = false, false, "no"
    options.cursorline, options.foldenable, options.list, options.spell = true, false, false, false
  end
end

---@param buffer integer
local function watch(buffer)
  local group = vim.api.nvim_create_augroup("segue_list_" .. buffer, { clear = true })
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = group, buffer = buffer, callback = callback })
  end
  on({ "CursorMoved", "WinScrolled" }, function()
    if vim.api.nvim_get_current_buf() == buffer then
      load_more_at_end(buffer)
    end
  end)
  on("BufWinEnter", function()
    set_window_options(buffer)
  end)
  on("BufEnter", function()
    if buffers[buffer].sessions then
      render(buffer) -- another one may be current, and another day may have begun
    end
  end)
  on("BufWipeout", function()
    buffers[buffer] = nil
    following.unfollow_lists(buffer)
    vim.api.nvim_del_augroup_by_id(group)
  end)
end

--- Fill the buffer named `segue-list://DIRECTORY`, or `segue-list://all`, and keep it up to date with
--- what any editor stores.
---@param buffer integer
function M.read(buffer)
  local place = vim.api.nvim_buf_get_name(buffer):sub(#SCHEME + 1)
  local before = buffers[buffer]
  buffers[buffer] = {
    cwd = place ~= EVERYWHERE and place,
    archived = before ~= nil and before.archived or place == EVERYWHERE,
    wanted = PAGE,
    has_more = false,
    loading = false,
    outdated = false,
    refreshing = false,
    rows = {},
  }
  vim.bo[buffer].buftype, vim.bo[buffer].bufhidden = "nofile", "wipe"
  vim.bo[buffer].swapfile, vim.bo[buffer].undolevels = false, -1
  vim.bo[buffer].buflisted = false
  vim.bo[buffer].filetype = "segue"
  if place ~= EVERYWHERE then
    vim.b[buffer].segue_workspace = place
  end
  map_keys(buffer)
  watch(buffer)
  set_window_options(buffer)
  render(buffer)
  load(buffer)
  following.follow_lists(buffer, function()
    refresh(buffer)
  end)
end

---@class segue.SessionListOptions
---@field everywhere boolean All workspaces, and archived sessions, too
---@field mods table of |nvim_cmd()|

--- Show the list: in the window that already shows it, else in a new one.
---@param opts segue.SessionListOptions
function M.open(opts)
  local workspace = workspaces.of_buffer()
  if not opts.everywhere and not workspace then
    return config.notify(workspaces.UNKNOWN.message, vim.log.levels.ERROR)
  end
  local name = SCHEME .. (opts.everywhere and EVERYWHERE or workspace)
  local window = vim.iter(vim.api.nvim_tabpage_list_wins(0)):find(function(each)
    return vim.api.nvim_buf_get_name(vim.api.nvim_win_get_buf(each)) == name
  end)
  if window then
    return vim.api.nvim_set_current_win(window)
  end
  vim.cmd({ cmd = "split", args = { name }, mods = opts.mods, magic = { file = false } })
  if opts.everywhere and workspace then
    vim.b.segue_workspace = workspace -- what is resumed goes on here
  end
end

return M
