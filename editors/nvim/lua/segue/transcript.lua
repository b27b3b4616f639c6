--- A conversation as a read-only Markdown buffer, the newest at the end.

local text = require("segue.text")

local M = {}

local load_newer ---@type fun(session: segue.Session)

local PAGE = 100
local SCHEME = "segue://"
local MORE = "*Older messages are loaded as you reach the top.*"

---@class segue.Shown
---@field id string
---@field first? integer The place of the oldest event that is shown
---@field last? integer The place of the newest
---@field has_more boolean
---@field loading boolean
---@field behind? segue.Session Something was stored while it was loading

---@type table<integer, segue.Shown> by buffer
local shown = {}

---@param content any
---@return string[]
local function lines_of(content)
  local value = type(content) == "string" and content or vim.json.encode(content)
  return vim.split(value:gsub("\r\n?", "\n"), "\n", { plain = true })
end

---@param content any
---@param language? string
---@return string[]
local function fenced(content, language)
  local lines = lines_of(content)
  local longest = 2
  for _, line in ipairs(lines) do
    longest = math.max(longest, #(line:match("^%s*(`+)") or ""))
  end
  local fence = ("`"):rep(longest + 1)
  table.insert(lines, 1, fence .. (language or ""))
  table.insert(lines, fence)
  return lines
end

---@param content any
---@return string[]
local function quoted(content)
  return vim.tbl_map(function(line)
    return ("> " .. line):gsub(" $", "")
  end, lines_of(content))
end

---@type table<string, fun(data: table): string, string[]>
local shapes = {
  user_message = function(data)
    return "You", lines_of(data.content)
  end,
  text = function(data)
    return "Assistant", lines_of(data.content)
  end,
  tool_call = function(data)
    return ("Tool call: `%s`"):format(data.name), fenced(data.input, "json")
  end,
  tool_result = function(data)
    return data.is_error and "Tool result: error" or "Tool result", fenced(data.content)
  end,
  skill_invocation = function(data)
    return ("Skill: `%s`"):format(data.name), lines_of(data.content)
  end,
  system_context = function(data)
    return "Context", quoted(data.content)
  end,
  out_of_band_output = function(data)
    return ("Output: `%s`"):format(data.name), fenced(data.content)
  end,
}

---@param event segue.Event
---@return string heading, string[] lines
local function shaped(event)
  local shape = shapes[event.type]
  if shape and not event.corrupt then
    -- What another version stored may have another shape: then it is shown as it is.
    local ok, heading, lines = pcall(shape, event.data)
    if ok then
      return heading, lines
    end
  end
  return ("`%s`"):format(event.type), fenced(event.data, "json")
end

---@param event segue.Event
---@return string[]
local function rendered(event)
  local heading, lines = shaped(event)
  local at = os.date("%Y-%m-%d %H:%M", text.seconds(event.created_at))
  return vim.list_extend({ ("## %s · %s"):format(heading, at), "" }, vim.list_extend(lines, { "" }))
end

---@param events segue.Event[]
---@return string[]
local function all_rendered(events)
  local lines = {}
  for _, event in ipairs(events) do
    vim.list_extend(lines, rendered(event))
  end
  return lines
end

---@param buffer integer
---@param from integer
---@param to integer
---@param lines string[]
local function set_lines(buffer, from, to, lines)
  vim.bo[buffer].modifiable = true
  vim.api.nvim_buf_set_lines(buffer, from, to, false, lines)
  vim.bo[buffer].modifiable = false
  vim.bo[buffer].modified = false
end

---@param has_more boolean
---@param id string
---@return string[]
local function head(has_more, id)
  return { has_more and MORE or ("*The conversation %s begins here.*"):format(id), "" }
end

---@param buffer integer
---@param page { events: segue.Event[], has_more: boolean }
local function put_on_top(buffer, page)
  local this = shown[buffer]
  this.has_more = page.has_more
  this.first = page.events[1] and page.events[1].seq or this.first
  local lines = vim.list_extend(head(page.has_more, this.id), all_rendered(page.events))
  local added = #lines - 2
  local views = {}
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    views[window] = vim.api.nvim_win_call(window, vim.fn.winsaveview)
  end
  set_lines(buffer, 0, 2, lines)
  -- The person goes on reading at the same line.
  for window, view in pairs(views) do
    view.lnum, view.topline = view.lnum + added, view.topline + added
    vim.api.nvim_win_call(window, function()
      vim.fn.winrestview(view)
    end)
  end
end

---@param buffer integer
---@param where { before?: integer, after?: integer }
---@param callback fun(page: { events: segue.Event[], has_more: boolean })
local function load(buffer, where, callback)
  local this = shown[buffer]
  this.loading = true
  local opts = { session_id = this.id, before = where.before, after = where.after, limit = PAGE }
  require("segue").events(opts, function(err, page)
    if shown[buffer] ~= this then
      return
    end
    this.loading = false
    if err then
      set_lines(buffer, 0, 1, { ("*This could not be read: %s*"):format(err.message:gsub("\n", " ")) })
    else
      callback(assert(page))
    end
    local behind = this.behind
    if behind then
      this.behind = nil
      load_newer(behind)
    end
  end)
end

---@param buffer integer
local function load_older(buffer)
  local this = shown[buffer]
  if this and this.has_more and not this.loading and vim.fn.line("w0") <= 2 then
    load(buffer, { before = this.first }, function(page)
      put_on_top(buffer, page)
    end)
  end
end

---@param buffer integer
---@param page { events: segue.Event[], has_more: boolean }
local function put_newest(buffer, page)
  local this = shown[buffer]
  this.has_more = page.has_more
  this.first = page.events[1] and page.events[1].seq
  this.last = page.events[1] and page.events[#page.events].seq
  local lines = vim.list_extend(head(page.has_more, this.id), all_rendered(page.events))
  set_lines(buffer, 0, -1, lines)
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(buffer), 0 })
  end
end

---@param buffer integer
---@param page { events: segue.Event[], has_more: boolean }
local function put_below(buffer, page)
  local this = shown[buffer]
  local end_before = vim.api.nvim_buf_line_count(buffer)
  set_lines(buffer, -1, -1, all_rendered(page.events))
  this.last = page.events[1] and page.events[#page.events].seq or this.last
  for _, window in ipairs(vim.fn.win_findbuf(buffer)) do
    -- Who reads further up is left there.
    if vim.api.nvim_win_get_cursor(window)[1] == end_before then
      vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(buffer), 0 })
    end
  end
end

---@param session segue.Session
function load_newer(session)
  for buffer, this in pairs(shown) do
    if this.id == session.id and this.loading then
      this.behind = session
    elseif this.id == session.id then
      load(buffer, { after = this.last or 0 }, function(page)
        put_below(buffer, page)
        if page.has_more then
          load_newer(session)
        end
      end)
    end
  end
end

local is_following = false

-- What this Neovim stores is shown as it comes.
local function follow()
  if not is_following then
    is_following = true
    require("segue").on("appended", load_newer)
  end
end

--- Fill the buffer named `segue://SESSION-ID`.
---@param buffer integer
function M.read(buffer)
  local id = vim.api.nvim_buf_get_name(buffer):sub(#SCHEME + 1)
  shown[buffer] = { id = id, has_more = false, loading = false }
  vim.bo[buffer].buftype = "nofile"
  vim.bo[buffer].swapfile = false
  vim.bo[buffer].undolevels = -1
  vim.bo[buffer].filetype = "markdown"
  set_lines(buffer, 0, -1, { "*The conversation is being read …*" })

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
      shown[buffer] = nil
      vim.api.nvim_del_augroup_by_id(group)
    end,
  })
  follow()
  load(buffer, {}, function(page)
    put_newest(buffer, page)
  end)
end

--- Show a session in a window of its own.
---@param id string
---@param mods? table of |nvim_cmd()|
function M.show(id, mods)
  local name = SCHEME .. id
  local window = vim.fn.bufwinid(name)
  if window ~= -1 then
    vim.api.nvim_set_current_win(window)
    vim.cmd.edit()
  else
    vim.cmd({ cmd = "split", args = { name }, mods = mods, magic = { file = false } })
  end
end

return M
