--- The rows of a list of sessions: grouped by day, each with its time, its title and where it comes
--- from.

local format = require("segue.format")
local text = require("segue.text")

local M = {}

-- Not by `os.date`, whose names depend on the locale.
local MONTHS = {
  "January", "February", "March", "April", "May", "June", "July", "August", "September",
  "October", "November", "December",
}
local WEEKDAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local TIME_CELLS = 9

--- The cells before a title: those of the time, and of the mark of the current session.
M.TITLE_COLUMN = TIME_CELLS + 3

---@param now integer
---@param days integer
---@return integer seconds since 1970 of the beginning of the day so many days ago, in local time
local function start_of_day(now, days)
  local date = os.date("*t", now) --[[@as osdate]]
  return os.time({ year = date.year, month = date.month, day = date.day - days, hour = 0 })
end

--- The group that a time belongs to, and the time as it is shown there.
---@param seconds integer since 1970
---@param now integer
---@return string group, string time
function M.group(seconds, now)
  local date = os.date("*t", seconds) --[[@as osdate]]
  local clock = ("%02d:%02d"):format(date.hour, date.min)
  if seconds >= start_of_day(now, 0) then
    return "Today", clock
  elseif seconds >= start_of_day(now, 1) then
    return "Yesterday", clock
  elseif seconds >= start_of_day(now, 7) then
    return "Previous 7 days", WEEKDAYS[date.wday] .. " " .. clock
  end
  local month = MONTHS[date.month]
  return ("%s %d"):format(month, date.year), ("%d %s"):format(date.day, month:sub(1, 3))
end

---@param session segue.SessionInfo
---@return string
local function folder(session)
  local path = vim.fn.fnamemodify(session.git_root or session.directory, ":~")
  return session.machine and session.machine .. ":" .. path or path
end

---@param session segue.SessionInfo
---@param with_folder boolean
---@return string
local function details(session, with_folder)
  local parts = { format.origin(session) or session.client }
  table.insert(parts, with_folder and folder(session) or nil)
  table.insert(parts, session.archived_at and "archived" or nil)
  table.insert(parts, session.shared_by and "shared by " .. session.shared_by or nil)
  return text.one_line(table.concat(parts, " · "))
end

---@class segue.SessionRow
---@field chunks segue.Chunk[]
---@field session? segue.SessionInfo nil: a heading, or an empty line

---@class segue.SessionRowOptions
---@field now integer Seconds since 1970
---@field current_id? string The session that is marked with a star
---@field with_folder boolean Say where each was had

---@param session segue.SessionInfo
---@param time string
---@param opts segue.SessionRowOptions
---@return segue.SessionRow
local function session_row(session, time, opts)
  local mark = session.id == opts.current_id and " * " or "   "
  local padding = (" "):rep(TIME_CELLS - #time)
  local chunks = { { time .. padding, "SegueDetail" }, { mark, "Special" } }
  table.insert(chunks, { format.title(session), session.archived_at and "SegueDetail" or nil })
  local detail = details(session, opts.with_folder)
  table.insert(chunks, detail ~= "" and { " · " .. detail, "SegueDetail" } or nil)
  return { chunks = chunks, session = session }
end

--- The rows of sessions, which are the newest first.
---@param sessions segue.SessionInfo[]
---@param opts segue.SessionRowOptions
---@return segue.SessionRow[]
function M.rows(sessions, opts)
  local rows, last_group = {}, nil
  for _, session in ipairs(sessions) do
    local seconds = format.epoch_seconds(session.updated_at) or opts.now
    local group, time = M.group(seconds, opts.now)
    if group ~= last_group then
      if last_group then
        table.insert(rows, { chunks = { { "" } } })
      end
      table.insert(rows, { chunks = { { group, "SegueTitle" } } })
      last_group = group
    end
    table.insert(rows, session_row(session, time, opts))
  end
  return rows
end

return M
