--- A search that follows what is typed: the results of the newest query, page by page.

local format = require("segue.format")

local M = {}

local DELAY_MS = 150
local PAGE = 50
local INVALID_PARAMS = -32602
local HINT = 'Type words, or a "quoted phrase"'
local SEARCHING = "Searching …"
local NOTHING = "Nothing found"
local NOTHING_HERE = NOTHING .. " in this workspace; :Segue! search searches all"

---@class segue.LiveSearch
---@field query string Without white space at its ends; the results may still be those of an earlier one
---@field title string What is searched
---@field private scope { cwd: string|false, archived: boolean }
---@field private hits segue.SearchHit[]
---@field private note? string In place of hits, or why there are no more
---@field private next_cursor? string
---@field private complete boolean
---@field private is_answered boolean
---@field private pending? segue.PendingSearch
---@field private timer? uv.uv_timer_t
local LiveSearch = {}
LiveSearch.__index = LiveSearch

---@class segue.PendingSearch
---@field callback fun(is_current: boolean)

---@class segue.SearchRow What is listed: a hit, or a line of text
---@field hit? segue.SearchHit
---@field text? string
---@field loads_more? boolean

---@class segue.LiveSearchOptions
---@field cwd string|false As of |segue.ListOptions|
---@field archived boolean
---@field title string

---@param opts segue.LiveSearchOptions
---@return segue.LiveSearch
function M.new(opts)
  return setmetatable({
    query = "",
    title = opts.title,
    scope = { cwd = opts.cwd, archived = opts.archived },
    hits = {},
    note = HINT,
    complete = true,
    is_answered = true,
  }, LiveSearch)
end

-- The callback that waits learns that its response does not matter any more.
---@private
function LiveSearch:supersede()
  if self.timer then
    self.timer:stop()
    self.timer:close()
    self.timer = nil
  end
  local pending = self.pending
  self.pending = nil
  if pending then
    pending.callback(false)
  end
end

---@param err segue.Error
---@return string
local function explain(err)
  local fault = err.code == INVALID_PARAMS and vim.tbl_get(err, "data", "errors", 1)
  if fault and fault.path == "$.query" then
    return "The search " .. fault.message
  end
  return err.message
end

---@private
---@param pending segue.PendingSearch
function LiveSearch:request(pending)
  local opts = vim.tbl_extend("error", {
    query = self.query,
    cursor = self.next_cursor,
    limit = PAGE,
  }, self.scope)
  require("segue").search(opts, function(err, page)
    if self.pending ~= pending then
      return -- a newer query made it irrelevant
    end
    self.pending = nil
    self.is_answered = true
    self.hits = opts.cursor and self.hits or {}
    if err then
      self.note, self.next_cursor = explain(err), opts.cursor
    else
      vim.list_extend(self.hits, page.hits)
      self.note, self.next_cursor, self.complete = nil, page.next_cursor, page.complete
    end
    pending.callback(true)
  end)
end

--- Search for what was typed. The callback runs once: with true when the rows are those of this
--- query, with false when a newer one made it irrelevant. At once, if there is nothing to wait for.
---@param query string
---@param callback fun(is_current: boolean)
function LiveSearch:set_query(query, callback)
  query = vim.trim(query)
  if query == self.query and self.is_answered then
    return callback(true)
  end
  self:supersede()
  self.query, self.next_cursor, self.complete = query, nil, true
  self.is_answered = query == ""
  if self.is_answered then
    self.hits, self.note = {}, HINT
    return callback(true)
  end
  self.note = #self.hits == 0 and SEARCHING or nil
  local pending = { callback = callback }
  self.pending = pending
  self.timer = vim.defer_fn(function()
    if self.pending == pending then
      self.timer = nil
      self:request(pending)
    end
  end, DELAY_MS)
end

--- Go on where the last page ended. The callback runs as that of `set_query`.
---@param callback fun(is_current: boolean)
function LiveSearch:load_more(callback)
  if self.next_cursor and not self.pending then
    self.pending = { callback = callback }
    self:request(self.pending)
  else
    callback(true)
  end
end

--- End the search: no callback runs any more, but with false.
function LiveSearch:close()
  self:supersede()
end

--- What is listed for the query that was answered last.
---@return segue.SearchRow[]
function LiveSearch:rows()
  local rows = vim.tbl_map(function(hit)
    return { hit = hit }
  end, self.hits)
  local note = self.note
  if not note and not self.complete then
    note = "Not everything was searched yet: go on"
  elseif not note and self.next_cursor then
    note = "Load more"
  elseif not note and #rows == 0 then
    note = self.scope.cwd and NOTHING_HERE or NOTHING
  end
  if note then
    table.insert(rows, { text = note, loads_more = self.next_cursor ~= nil })
  end
  return rows
end

--- How many were found so far; empty without any.
---@return string
function LiveSearch:summary()
  if #self.hits == 0 then
    return ""
  end
  return format.count(#self.hits, "result") .. (self.next_cursor and " so far" or "")
end

return M
