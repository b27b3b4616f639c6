--- The transport under |vim.lsp.start()|: JSON-RPC frames on the server's stdio.
---
--- It replaces Neovim's own (|vim.lsp.rpc.start()|), which drops a whole response if a string in it
--- holds a lone surrogate, turns every null inside an event into nil, and writes conversations into
--- its log at the level DEBUG. This one also calls back before the server is asked to shut down.

local json = require("segue.json")

local M = {}

local MAX_FRAME_BYTES = 1024 * 1024 * 1024
local MAX_HEADER_BYTES = 16 * 1024
local MAX_STRAY_BYTES = 400

--- Parameters of a request that are JSON already. Neovim's log does not show what a function
--- returns, and so no conversation.
---@param json_text string
---@return table
function M.encoded(json_text)
  return {
    json = function()
      return json_text
    end,
  }
end

---@class segue.FrameParser
---@field private on_frame fun(body: string)
---@field private on_stray fun(stray: string)
---@field private chunks string[] Received and not parsed yet
---@field private buffered integer How many bytes the chunks have together
---@field private content_length? integer Of the frame whose header is being read
---@field private in_body boolean Whether the next byte belongs to the body of that frame
---@field private stray string The beginning of what belongs to no frame, since the last one
local FrameParser = {}
FrameParser.__index = FrameParser

--- A parser at the start of a stream. What is printed between the frames, for example by a wrapper
--- around the server, is skipped.
---@param on_frame fun(body: string) Called with the body of each complete frame
---@param on_stray fun(stray: string) Called with the beginning of what was skipped before a frame
---@return segue.FrameParser
function FrameParser.new(on_frame, on_stray)
  return setmetatable({
    on_frame = on_frame,
    on_stray = on_stray,
    chunks = {},
    buffered = 0,
    in_body = false,
    stray = "",
  }, FrameParser)
end

---@private
---@param buffer string
function FrameParser:keep(buffer)
  self.chunks, self.buffered = { buffer }, #buffer
end

---@private
---@param line string
function FrameParser:skip(line)
  local separator = self.stray ~= "" and "\n" or ""
  self.stray = (self.stray .. separator .. vim.trim(line)):sub(1, MAX_STRAY_BYTES)
end

--- Report what was skipped since the last frame.
function FrameParser:report_stray()
  if self.stray ~= "" then
    local stray = self.stray
    self.stray = ""
    self.on_stray(stray)
  end
end

-- A length is taken at the end of any line: what precedes it was printed without a line break.
---@private
---@param line string
function FrameParser:parse_header_line(line)
  local before, length = line:lower():match("^(.-)content%-length%s*:%s*(%d+)%s*$")
  length = tonumber(length)
  if length and length > 0 and length <= MAX_FRAME_BYTES then
    local is_byte_order_mark = before == "\239\187\191"
    if not is_byte_order_mark then
      self:skip(line:sub(1, #before))
    end
    self.content_length = length
  elseif line == "" then
    self.in_body = self.content_length ~= nil
  elseif not line:lower():find("^content%-type%s*:") then
    self:skip(line)
  end
end

---@private
---@return boolean complete
function FrameParser:parse_header()
  local buffer = table.concat(self.chunks)
  local position = 1
  while not self.in_body do
    local line_end = buffer:find("\n", position, true)
    if not line_end then
      local rest = buffer:sub(position)
      if #rest > MAX_HEADER_BYTES then
        self:skip(rest)
        rest = rest:sub(-64) -- the next header may have begun in it
      end
      self:keep(rest)
      return false
    end
    self:parse_header_line((buffer:sub(position, line_end - 1):gsub("\r$", "")))
    position = line_end + 1
  end
  self:keep(buffer:sub(position))
  return true
end

-- A header that something else printed is not followed by a JSON object.
---@private
---@return boolean
function FrameParser:is_body_expected()
  local first = self.chunks[1] ~= "" and self.chunks[1] or self.chunks[2]
  if first and first:sub(1, 1) ~= "{" then
    self.content_length, self.in_body = nil, false
  end
  return self.in_body
end

--- Parse the next bytes of the stream.
---@param chunk string
function FrameParser:feed(chunk)
  table.insert(self.chunks, chunk)
  self.buffered = self.buffered + #chunk
  while self.in_body or self:parse_header() do
    if self:is_body_expected() then
      -- Chunks are joined once per frame: joining at every chunk is quadratic for a large frame.
      if self.buffered < self.content_length then
        return
      end
      local buffer, length = table.concat(self.chunks), self.content_length
      self:keep(buffer:sub(length + 1))
      self.content_length, self.in_body = nil, false
      self:report_stray()
      self.on_frame(buffer:sub(1, length))
    end
  end
end

---@class segue.RpcOptions
---@field cwd? string
---@field env table<string, string> The whole environment
---@field on_stray fun(stray: string) Runs with the beginning of what the process printed that is no frame
---@field before_shutdown fun() Runs before the server is asked to shut down or is terminated
---@field on_exit fun(code: integer, signal: integer) Runs on the main loop after the process exited

---@class segue.RpcCall
---@field method string
---@field callback fun(err?: table, result?: any)
---@field on_response? fun(id: integer)

---@class segue.RpcConnection
---@field private process vim.SystemObj
---@field private dispatchers vim.lsp.rpc.Dispatchers
---@field private options segue.RpcOptions
---@field private pending table<integer, segue.RpcCall> by request id
---@field private last_id integer
local Connection = {}
Connection.__index = Connection

--- Start the process. Raises an error if it cannot be created.
---@param cmd string[]
---@param dispatchers vim.lsp.rpc.Dispatchers
---@param options segue.RpcOptions
---@return segue.RpcConnection
function Connection.new(cmd, dispatchers, options)
  local self = setmetatable({
    dispatchers = dispatchers,
    options = options,
    pending = {},
    last_id = 0,
  }, Connection)
  self.process = self:spawn(cmd)
  return self
end

---@private
---@param cmd string[]
---@return vim.SystemObj
function Connection:spawn(cmd)
  local parser = FrameParser.new(vim.schedule_wrap(function(body)
    self:receive(body)
  end), vim.schedule_wrap(self.options.on_stray))
  return vim.system(cmd, {
    stdin = true,
    cwd = self.options.cwd,
    env = self.options.env,
    clear_env = true,
    detach = vim.fn.has("win32") == 0,
    stdout = function(_, chunk)
      if chunk then
        parser:feed(chunk)
      end
    end,
    stderr = function(_, chunk)
      if chunk then
        vim.lsp.log.error("segue", chunk)
      end
    end,
  }, function(exit)
    parser:report_stray()
    -- With the real exit code, Neovim would show a notice of its own for each crash.
    self.dispatchers.on_exit(0, 0)
    vim.schedule(function()
      self.options.on_exit(exit.code, exit.signal)
    end)
  end)
end

---@private
---@param message table
---@return boolean sent false if the process is exiting
function Connection:send(message)
  if self.process:is_closing() then
    return false
  end
  message.jsonrpc = "2.0"
  local params = message.params
  local body
  if type(params) == "table" and params.json then
    body = ('{"jsonrpc":"2.0","id":%d,"method":"%s","params":'):format(message.id, message.method)
      .. params.json()
      .. "}"
  else
    body = json.to_utf8(vim.json.encode(message))
  end
  self.process:write(("Content-Length: %d\r\n\r\n%s"):format(#body, body))
  return true
end

---@private
---@param body string
function Connection:receive(body)
  local decoded, message = pcall(json.decode, body)
  if not decoded or type(message) ~= "table" then
    -- The response to some request is lost, and the caller waits: a new server gets it again.
    vim.lsp.log.error("segue", "the server sent a frame that is not JSON; it is restarted")
    self.process:kill("sigterm")
  elseif type(message.method) ~= "string" then
    self:on_response(message, body)
  elseif message.id == nil then
    self.dispatchers.notification(message.method, message.params)
  else
    local result, err = self.dispatchers.server_request(message.method, message.params)
    self:send({ id = message.id, result = result == nil and vim.NIL or result, error = err })
  end
end

---@private
---@param message table
---@param body string
function Connection:on_response(message, body)
  local call = self.pending[message.id]
  if not call then
    return
  end
  self.pending[message.id] = nil
  if not vim.startswith(call.method, "session/") then
    -- Neovim's client expects nil for null in the results of its own requests.
    message = json.decode(body, { luanil = { object = true } })
  end
  if call.on_response then
    call.on_response(message.id)
  end
  local err = message.error
  if err == vim.NIL then
    err = nil
  end
  call.callback(err, message.result)
end

--- Send a request. If it was sent, the callback runs with its response; never, if the process exits
--- before it responds.
---@param method string
---@param params? table
---@param callback fun(err?: table, result?: any)
---@param on_response? fun(id: integer)
---@return boolean sent, integer? id
function Connection:request(method, params, callback, on_response)
  if method == "shutdown" then
    self.options.before_shutdown()
  end
  self.last_id = self.last_id + 1
  local id = self.last_id
  self.pending[id] = { method = method, callback = callback, on_response = on_response }
  if self:send({ id = id, method = method, params = params }) then
    return true, id
  end
  self.pending[id] = nil
  return false
end

--- Send a notification.
---@param method string
---@param params? table
---@return boolean sent
function Connection:notify(method, params)
  return self:send({ method = method, params = params })
end

--- Whether the process has exited or is exiting.
---@return boolean
function Connection:is_closing()
  return self.process:is_closing()
end

--- Terminate the process with SIGTERM.
function Connection:terminate()
  self.options.before_shutdown()
  self.process:kill("sigterm")
end

--- The connection in the form of |vim.lsp.rpc.start()|: functions without `self`.
---@return vim.lsp.rpc.PublicClient
function Connection:client()
  return {
    request = function(...)
      return self:request(...)
    end,
    notify = function(...)
      return self:notify(...)
    end,
    is_closing = function()
      return self:is_closing()
    end,
    terminate = function()
      self:terminate()
    end,
  }
end

--- Start the server. Raises an error if its process cannot be created.
---@param cmd string[]
---@param dispatchers vim.lsp.rpc.Dispatchers
---@param options segue.RpcOptions
---@return vim.lsp.rpc.PublicClient client for |vim.lsp.start()|
---@return integer pid
function M.start(cmd, dispatchers, options)
  local connection = Connection.new(cmd, dispatchers, options)
  return connection:client(), connection.process.pid
end

return M
