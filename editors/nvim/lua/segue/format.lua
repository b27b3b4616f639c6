--- Times, counts and titles as they are shown to people.

local protocol = require("segue.protocol")
local text = require("segue.text")

local M = {}

--- Convert the server's `2026-08-01T12:00:00.000Z` to seconds since 1970; anything else to nil.
---@param iso any
---@return integer?
function M.epoch_seconds(iso)
  local year, month, day, hour, minute, second =
    tostring(iso):match("^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)")
  if not year then
    return nil
  end
  local y = tonumber(year) - (tonumber(month) <= 2 and 1 or 0)
  local era = math.floor(y / 400)
  local shifted_month = (tonumber(month) + 9) % 12
  local day_of_year = math.floor((153 * shifted_month + 2) / 5) + tonumber(day) - 1
  local year_of_era = y - era * 400
  local day_of_era = year_of_era * 365
    + math.floor(year_of_era / 4)
    - math.floor(year_of_era / 100)
    + day_of_year
  local days = era * 146097 + day_of_era - 719468
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

--- A time in the local time zone; as it is if it is none.
---@param iso any
---@return string
function M.time(iso)
  local seconds = M.epoch_seconds(iso)
  local ok, formatted = pcall(os.date, "%Y-%m-%d %H:%M", seconds)
  return ok and seconds and formatted --[[@as string]] or text.one_line(iso)
end

--- The time that has passed since *iso*, in its largest unit: `2 hours ago`, `just now`.
---@param iso any
---@return string
function M.age(iso)
  local then_seconds = M.epoch_seconds(iso)
  if not then_seconds then
    return text.one_line(iso)
  end
  local seconds = math.max(0, os.time() - then_seconds)
  for _, unit in ipairs({ { 86400, "day" }, { 3600, "hour" }, { 60, "minute" } }) do
    local count = math.floor(seconds / unit[1])
    if count > 0 then
      return M.count(count, unit[2]) .. " ago"
    end
  end
  return "just now"
end

--- A count with its noun: `1 event`, `2 events`.
---@param count integer
---@param noun string in the singular
---@return string
function M.count(count, noun)
  return ("%d %s%s"):format(count, noun, count == 1 and "" or "s")
end

--- The title of a session on one line, or a placeholder if it has none yet.
---@param session { title?: string }
---@return string
function M.title(session)
  local title = text.one_line(type(session.title) == "string" and session.title or "")
  return title ~= "" and title or "(no message yet)"
end

--- The program that a session was imported from, as people call it: `Claude Code`.
---@param session { source?: string }
---@return string?
function M.program(session)
  return session.source and (protocol.SOURCE_TITLES[session.source] or text.one_line(session.source))
end

--- Who answers: `openai (gpt-5)`; of an imported session `Claude Code (claude-opus-4-5)`, and
--- `Claude Code, then openai (gpt-5)` if it went on with another agent; nil if it is not known.
---@param origin { agent?: string, model?: string, source?: string }
---@return string?
function M.origin(origin)
  local program = M.program(origin)
  local agent = origin.agent or program
  local who = agent and origin.model and ("%s (%s)"):format(agent, origin.model)
    or agent
    or origin.model
  if program and agent ~= program then
    who = ("%s, then %s"):format(program, who)
  end
  return who and text.one_line(who)
end

--- What waits, since when and why: `3 events are not stored yet, since 14:05: the disk is full`.
---@param count integer
---@param since? integer Seconds since 1970
---@param reason? string
---@return string
function M.unsent(count, since, reason)
  local verb = count == 1 and "is" or "are"
  local since_text = since and ", since " .. os.date("%H:%M", since) or ""
  local reason_text = reason and ": " .. text.one_line(reason) or ""
  return ("%s %s not stored yet%s%s"):format(M.count(count, "event"), verb, since_text, reason_text)
end

return M
