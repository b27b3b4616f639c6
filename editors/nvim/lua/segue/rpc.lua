--- The wire under |vim.lsp.start()|: frames of JSON on the server's stdio.
---
--- Neovim's own transport drops a whole answer if one text in it holds half a surrogate pair, turns
--- every null inside an event into nothing, and writes conversations into its log at the level
--- DEBUG. This one does not, and says when the end is near.

local text = require("segue.text")

local M = {}

---@param on_frame fun(body: string)
---@return fun(chunk: string)
local function reader(on_frame)
  local chunks, have, want = {}, 0, nil ---@type string[], integer, integer?
  return function(chunk)
    chunks[#chunks + 1] = chunk
    have = have + #chunk
    while true do
      if not want then
        local all = table.concat(chunks)
        local last, rest = all:find("\r\n\r\n", 1, true)
        if not last then
          chunks = { all }
          return
        end
        want = assert(tonumber(all:sub(1, last):lower():match("content%-length:%s*(%d+)")))
        chunks = { all:sub(rest + 1) }
        have = #chunks[1]
      end
      if have < want then
        return
      end
      local all = table.concat(chunks)
      local body = all:sub(1, want)
      chunks = { all:sub(want + 1) }
      have, want = #chunks[1], nil
      on_frame(body)
    end
  end
end

---@class segue.RpcOptions
---@field cwd? string
---@field env? table<string, string>
---@field on_end fun() Runs before the server is told to end
---@field on_exit fun(code: integer, signal: integer) Runs on the main loop when it has ended

--- Start the server.
---@param cmd string[]
---@param dispatchers vim.lsp.rpc.Dispatchers
---@param options segue.RpcOptions
---@return vim.lsp.rpc.PublicClient
---@return integer pid
function M.start(cmd, dispatchers, options)
  ---@type table<integer, { method: string, callback: function, answered?: function }>
  local pending = {}
  local last_id = 0
  local process ---@type vim.SystemObj

  local function send(message)
    if process:is_closing() then
      return false
    end
    message.jsonrpc = "2.0"
    local body = vim.json.encode(message)
    process:write(("Content-Length: %d\r\n\r\n%s"):format(#body, body))
    return true
  end

  local function answer(message, body)
    local asked = pending[message.id]
    if not asked then
      return
    end
    pending[message.id] = nil
    if not vim.startswith(asked.method, "session/") then
      message = text.decode(body, { luanil = { object = true } })
    end
    if asked.answered then
      asked.answered(message.id)
    end
    local fault = message.error
    if fault == vim.NIL then
      fault = nil
    end
    asked.callback(fault, message.result)
  end

  local function receive(body)
    local message = text.decode(body)
    if type(message.method) ~= "string" then
      answer(message, body)
    elseif message.id == nil then
      dispatchers.notification(message.method, message.params)
    else
      local result, fault = dispatchers.server_request(message.method, message.params)
      send({ id = message.id, result = result == nil and vim.NIL or result, error = fault })
    end
  end

  local read = reader(vim.schedule_wrap(receive))
  process = vim.system(cmd, {
    stdin = true,
    cwd = options.cwd,
    env = options.env,
    detach = vim.fn.has("win32") == 0,
    stdout = function(_, chunk)
      if chunk then
        read(chunk)
      end
    end,
    stderr = function(_, chunk)
      if chunk then
        vim.lsp.log.error("segue", chunk)
      end
    end,
  }, function(ended)
    -- Neovim would give a notice of its own for each bad end.
    dispatchers.on_exit(0, 0)
    vim.schedule(function()
      options.on_exit(ended.code, ended.signal)
    end)
  end)

  return {
    request = function(method, params, callback, answered)
      if method == "shutdown" then
        options.on_end()
      end
      last_id = last_id + 1
      pending[last_id] = { method = method, callback = callback, answered = answered }
      if send({ id = last_id, method = method, params = params }) then
        return true, last_id
      end
      pending[last_id] = nil
      return false
    end,
    notify = function(method, params)
      return send({ method = method, params = params })
    end,
    is_closing = function()
      return process:is_closing()
    end,
    terminate = function()
      options.on_end()
      process:kill("sigterm")
    end,
  },
    process.pid
end

return M
