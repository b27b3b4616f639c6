--- A message while it is streamed: it is handed over in pieces, so that little is lost if Neovim is
--- killed before its end.

local uuid = require("segue.uuid")

local M = {}

local PAUSE_MS = 2000

---@class segue.StreamedText
---@field private type "text"|"thinking"
---@field private on_piece fun(event: segue.NewEvent)
---@field private text string What has come, without the white space at its beginning
---@field private told string What was handed over of it
---@field private message string The pieces have this in common
---@field private timer? uv.uv_timer_t
local StreamedText = {}
StreamedText.__index = StreamedText

--- A message of which nothing has come yet.
---@param on_piece fun(event: segue.NewEvent) Gets a piece at most every two seconds
---@param type? "text"|"thinking" (default: "text")
---@return segue.StreamedText
function M.new(on_piece, type)
  return setmetatable({
    type = type or "text",
    on_piece = on_piece,
    text = "",
    told = "",
    message = uuid.v7(),
    timer = nil,
  }, StreamedText)
end

-- A secret that spans lines is masked only if it is whole.
---@param text string
---@return integer length of what may be handed over
local function complete_length(text)
  local length = #(text:match("^.*\n") or "")
  local position = 1
  while true do
    local begin, after = text:find("-----BEGIN", position, true)
    if not begin or begin > length then
      return length
    end
    local _, last = text:find("-----END[^\n]*\n", after + 1)
    if not last then
      return begin - 1
    end
    position = last + 1
  end
end

---@private
---@param content string
---@return segue.NewEvent
function StreamedText:piece(content)
  self.told = self.told .. content
  return { type = self.type, data = { content = content, message = self.message } }
end

-- White space at the end waits for what follows: a message has none there.
---@private
---@param untold string
function StreamedText:tell(untold)
  local content = untold:gsub("%s+$", "")
  if content ~= "" then
    self.on_piece(self:piece(content))
  end
end

---@private
function StreamedText:stop()
  if self.timer and not self.timer:is_closing() then
    self.timer:close()
  end
  self.timer = nil
end

--- Take the next chunk. Two seconds after the first one that waits, what has come up to the end of a
--- line is handed over.
---@param chunk string
function StreamedText:add(chunk)
  self.text = self.text .. chunk
  if self.told == "" then
    self.text = self.text:gsub("^%s+", "")
  end
  self.timer = self.timer
    or vim.defer_fn(function()
      self:stop()
      self:tell(self.text:sub(#self.told + 1, complete_length(self.text)))
    end, PAUSE_MS)
end

--- The rest of the message, whose content is known now; nil if all of it was handed over. All of it,
--- if it is not what was streamed.
---@param content? string (default: what was streamed, without the white space at its end)
---@return segue.NewEvent? event
function StreamedText:finish(content)
  self:stop()
  content = content or self.text:gsub("%s+$", "")
  if self.told == "" or not vim.startswith(content, self.told) then
    return content ~= "" and { type = self.type, data = { content = content } } or nil
  end
  local rest = content:sub(#self.told + 1)
  return rest ~= "" and self:piece(rest) or nil
end

return M
