--- The transport under |vim.lsp.start()|: JSON-RPC frames on the server's stdio.
---
--- It replaces Neovim's own (|vim.lsp.rpc.start()|), which drops a whole response if a string in it
--- holds a lone surrogate, turns every null inside an event into nil, and writes conversations into
--- its log at the level DEBUG. This one also calls back before the server is asked to shut down.

local json = require("segue.json")

local M = {}

---@class segue.FrameParser
---@field private on_frame fun(body: string)
---@field private chunks string[] Received and not parsed yet
---@field private buffered integer How many bytes the chunks have together
---@field private content_length? integer nil while the header is incomplete
local FrameParser = {}
FrameParser.__index = FrameParser

--- A parser at the start of a stream.
---@param on_frame fun(body: string) Called with the body of each complete frame
---@return segue.FrameParser
function FrameParser.new(on_frame)
  return setmetatable({ on_frame = on_frame, chunks = {}, buffered = 0 }, FrameParser)
end

---@private
---@return boolean complete
function FrameParser:parse_header()
  local buffer = table.concat(self.chunks)
  local _, header_end = buffer:find("\r\n\r\n", 1, true)
  if not header_end then
    self.chunks = { buffer }
    return false
  end
  local header = buffer:sub(1, header_end):lower()
  self.content_length = assert(tonumber(header:match("content%-length:%s*(%d+)")))
  self.chunks = { buffer:sub(header_end + 1) }
  self.buffered = #self.chunks[1]
  return true
end

--- Parse the next bytes of the stream. Raises an error if a header has no Content-Length.
---@param chunk string
function FrameParser:feed(chunk)
  table.insert(self.chunks, chunk)
  self.buffered = self.buffered + #chunk
  while self.content_length or self:parse_header() do
    -- Chunks are joined once per frame: joining at every chunk is quadratic for a large frame.
    if self.buffered < self.content_length then
      return
    end
    local buffer = table.concat(self.chunks)
    local body = buffer:sub(1, self.content_length)
    self.chunks = { buffer:sub(self.content_length + 1) }
    self.buffered, self.content_length = #self.chunks[1], nil
    self.on_frame(body)
  end
end

---@class segue.RpcOptions
---@field cwd? string
---@field env? table<string, string>
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
  end))
  return vim.system(cmd, {
    stdin = true,
    cwd = self.options.cwd,
    env = self.options.env,
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
  local body = vim.json.encode(message)
  self.process:write(("Content-Length: %d\r\n\r\n%s"):format(#body, body))
  return true
end

---@private
---@param body string
function Connection:receive(body)
  local message = json.decode(body)
  if type(message.method) ~= "string" then
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
