--- The server: one process for this Neovim, started on demand and restarted after a crash.

local config = require("segue.config")
local programs = require("segue.programs")
local protocol = require("segue.protocol")

local M = {}

---@class segue.Error
---@field code integer
---@field message string For people
---@field kind? string The kind of a server's error (PROTOCOL.md), or `ServerGone`, `ServerStopped`, `ServerNotFound`
---@field data? table

---@class segue.Request
---@field method segue.Method
---@field params table
---@field callback fun(err?: segue.Error, result?: any)

local MAX_RESTARTS = 3
local CRASH_WINDOW_S = 180

-- Of a server's `window/showMessage`, by its `type`.
local LEVELS = { vim.log.levels.ERROR, vim.log.levels.WARN }

---@type "stopped"|"starting"|"ready"|"stopping"
local state = "stopped"
local client ---@type vim.lsp.Client?
local generation = 0
local queue = {} ---@type segue.Request[] waiting for the server to become ready
local in_flight = {} ---@type table<integer, segue.Request> by the order in which they were sent
local last_number = 0
local crash_times = {} ---@type integer[] in seconds since 1970
local failure = nil ---@type "crashes"|"version"|nil why the server is not started any more
local pid ---@type integer?
local info ---@type { name: string, version?: string }?
local not_found_notified = false
local stray_notified = false
local before_shutdown = function() end
local after_start = function() end

---@param kind string
---@param message string
---@return segue.Error
local function new_error(kind, message)
  return { code = -32803, kind = kind, message = message }
end

---@param request segue.Request
---@param err? segue.Error
---@param result? any
local function complete(request, err, result)
  vim.schedule(function()
    request.callback(err, result)
  end)
end

---@param err segue.Error
local function fail_queue(err)
  local failed = queue
  queue = {}
  for _, request in ipairs(failed) do
    complete(request, err)
  end
end

--- How to install the server: a shell command if this plugin is part of a checkout of the whole
--- repository, else a hint to the help.
---@return string
function M.how_to_install()
  local here = vim.fs.normalize(vim.uv.fs_realpath(debug.getinfo(1, "S").source:sub(2)) or "")
  local checkout = vim.fs.dirname(here):gsub("/editors/nvim/lua/segue$", "")
  if not vim.uv.fs_stat(vim.fs.joinpath(checkout, "server", "segue")) then
    return "see :help segue-installation"
  end
  local tool = vim.fn.executable("uv") == 1 and "uv tool install" or "pipx install"
  return tool .. " " .. vim.fn.shellescape(checkout)
end

---@return vim.lsp.Config
local function lsp_config()
  local settings = vim.deepcopy(vim.lsp.config.segue)
  settings.cmd = config.get().cmd or settings.cmd
  return settings
end

-- PYTHONPATH, PYTHONHOME and others like them would run another program's, or a repository's, code
-- in the server.
---@param cmd_env? table<string, string|number>
---@return table<string, string>
local function environment(cmd_env)
  local inherited = vim.fn.environ()
  for name in pairs(inherited) do
    if name:upper():find("^PYTHON") or name == "__PYVENV_LAUNCHER__" then
      inherited[name] = nil
    end
  end
  inherited.NVIM_LISTEN_ADDRESS = nil
  return vim.tbl_extend("force", inherited, { NVIM = vim.v.servername }, cmd_env or {})
end

-- Not the workspace: `python -m` and some wrappers take code or settings from where they run.
---@return string
local function safe_directory()
  local directory = vim.fn.stdpath("state") --[[@as string]]
  pcall(vim.fn.mkdir, directory, "p")
  if vim.fn.isdirectory(directory) == 1 then
    return directory
  end
  return vim.fn.has("win32") == 1 and (vim.env.SystemRoot or "C:\\") or "/"
end

--- The server's command: that of `vim.g.segue`, else that of `vim.lsp.config.segue`; the path of
--- its program, if it was found.
---@return string[]
function M.command()
  local cmd = vim.deepcopy(lsp_config().cmd --[[@as string[] ]])
  cmd[1] = programs.find(cmd[1]) or cmd[1]
  return cmd
end

-- The server's command without `lsp` and its options, which other commands do not have, but for the
-- database.
---@return string[] program, string[] database
local function split_command()
  local cmd = M.command()
  local program, database = {}, {}
  local after_lsp = false
  for index, argument in ipairs(cmd) do
    if argument == "lsp" and not after_lsp then
      after_lsp = true
    elseif not after_lsp then
      table.insert(program, argument)
    elseif argument == "--database" then
      database = { argument, cmd[index + 1] }
    elseif vim.startswith(argument, "--database=") then
      database = { argument }
    end
  end
  return program, database
end

--- The command line of another command of the server's program, such as `{ "doctor", "--json" }`:
--- `segue … lsp --database X` becomes `segue … --database X doctor --json`.
---@param arguments string[]
---@return string[]
function M.subcommand(arguments)
  local program, database = split_command()
  return vim.iter({ program, database, arguments }):flatten():totable()
end

--- The command line that the command of an agent (ACP) is appended to, so that it is recorded:
--- `segue … acp --database X --`.
---@return string[]
function M.agent_proxy()
  local program, database = split_command()
  return vim.iter({ program, "acp", database, "--" }):flatten():totable()
end

--- How a program of the server is run: where, and in which environment.
---@return { cwd: string, env: table<string, string>, clear_env: true } options of |vim.system()|
function M.system_options()
  local settings = lsp_config()
  return {
    cwd = settings.cmd_cwd or safe_directory(),
    env = environment(settings.cmd_env),
    clear_env = true,
  }
end

---@param request segue.Request
local function send(request)
  last_number = last_number + 1
  local number = last_number
  in_flight[number] = request
  local function on_response(err, result)
    if not in_flight[number] then
      return -- `on_exit` has completed or queued it
    end
    in_flight[number] = nil
    if err then
      local data = type(err.data) == "table" and err.data or {}
      err = { code = err.code, message = err.message, kind = data.kind, data = data }
    end
    request.callback(err, result)
  end
  -- Encoding raises an error for values that have no JSON.
  local encoded, sent =
    pcall(client.request, client, request.method, request.params, on_response)
  if not encoded then
    in_flight[number] = nil
    complete(request, { code = -32602, message = tostring(sent), data = {} })
  elseif not sent then
    -- The process is exiting; `on_exit`, which starts the next one, has not run yet.
    in_flight[number] = nil
    table.insert(queue, request)
  end
end

local function send_queue()
  local queued = queue
  queue = {}
  for _, request in ipairs(queued) do
    send(request)
  end
end

---@param result lsp.InitializeResult
local function on_ready(result)
  local version = vim.tbl_get(result, "capabilities", "experimental", "sessions", "version")
  info = result.serverInfo
  if version ~= protocol.VERSION then
    failure = "version"
    local message = ("the server uses protocol version %s, this plugin needs version %d"):format(
      version or "none",
      protocol.VERSION
    )
    config.notify(message .. "; update the plugin and the server together", vim.log.levels.ERROR)
    fail_queue(new_error("ServerStopped", message))
    return assert(client):stop()
  end
  state = "ready"
  send_queue()
  after_start()
  require("segue.following").after_start()
  require("segue.watch").after_start()
end

---@return integer
local function count_recent_crashes()
  local since = os.time() - CRASH_WINDOW_S
  crash_times = vim.tbl_filter(function(time)
    return time > since
  end, crash_times)
  return #crash_times
end

---@param code integer
---@param signal integer
local function on_crash(code, signal)
  table.insert(crash_times, os.time())
  local count = count_recent_crashes()
  local cause = signal ~= 0 and ("signal %d"):format(signal) or ("exit code %d"):format(code)
  if count > MAX_RESTARTS then
    failure = "crashes"
    local message = "the server stopped %d times (%s) and is not restarted for %d minutes; "
      .. "events are kept in memory until Neovim exits. See :Segue log; "
      .. "to try again at once: :Segue info"
    config.notify(message:format(count, cause, CRASH_WINDOW_S / 60), vim.log.levels.ERROR)
  elseif count == 1 then
    config.notify(
      ("the server stopped (%s) and is being restarted; no events are lost"):format(cause),
      vim.log.levels.WARN
    )
  end
end

---@param code integer
---@param signal integer
local function on_exit(code, signal)
  local expected = state == "stopping"
  state, client, pid = "stopped", nil, nil
  generation = generation + 1
  local interrupted = in_flight
  in_flight = {}
  if vim.v.exiting ~= vim.NIL then
    return
  end
  if not expected and not failure then
    on_crash(code, signal)
  end

  local retries = {}
  local numbers = vim.tbl_keys(interrupted)
  table.sort(numbers)
  for _, number in ipairs(numbers) do
    local request = interrupted[number]
    if protocol.RETRIABLE[request.method] then
      table.insert(retries, request)
    else
      complete(request, new_error("ServerGone", "the server stopped before it responded"))
    end
  end
  queue = vim.list_extend(retries, queue)
  if failure then
    fail_queue(new_error("ServerStopped", "the server is not running"))
  elseif #queue > 0 or not expected then
    M.start()
  end
end

---@param stray string
local function on_stray(stray)
  if not stray_notified then
    stray_notified = true
    local message = "the server's command printed something that is no message of the server; "
      .. "it is ignored: %s"
    config.notify(message:format(stray), vim.log.levels.WARN)
  end
end

---@param program string
local function on_not_found(program)
  if not not_found_notified then
    not_found_notified = true
    config.notify(
      ("the server is not installed (%s was not found). To install it: %s"):format(
        program,
        M.how_to_install()
      ),
      vim.log.levels.ERROR
    )
  end
  fail_queue(new_error("ServerNotFound", program .. " was not found"))
end

--- Start the server if it is not running. Returns at once.
function M.start()
  if state ~= "stopped" then
    return
  end
  local settings, cmd = lsp_config(), M.command()
  if not programs.find(cmd[1]) then
    return on_not_found(cmd[1])
  end
  not_found_notified = false
  state = "starting"
  settings.name = "segue"
  -- No folder: each request names its workspace, and the server outlives any of them.
  settings.root_dir = nil
  settings.root_markers = nil
  local options = M.system_options()
  settings.cmd = function(dispatchers)
    local connection
    connection, pid = require("segue.rpc").start(cmd, dispatchers, {
      cwd = options.cwd,
      env = options.env,
      on_stray = on_stray,
      before_shutdown = function()
        before_shutdown()
        state = "stopping"
      end,
      on_exit = on_exit,
    })
    return connection
  end
  settings.on_init = function(_, result)
    on_ready(result)
  end
  settings.handlers = vim.tbl_extend("keep", settings.handlers or {}, {
    ["session/didAppend"] = function(_, params)
      require("segue.following").on_append(params)
    end,
    ["session/didChangeList"] = function()
      require("segue.following").on_list_change()
    end,
    ["window/showMessage"] = function(_, params)
      config.notify(params.message, LEVELS[params.type])
    end,
  })
  local id = vim.lsp.start(settings, {
    attach = false,
    silent = true,
    reuse_client = function()
      return false
    end,
  })
  client = id and vim.lsp.get_client_by_id(id) or nil
  if not client then
    state = "stopped"
    on_not_found(cmd[1])
  end
end

--- Send a request, and start the server first if it is not running. Returns at once; the callback
--- runs exactly once, on the main loop.
---@param method segue.Method
---@param params table
---@param callback fun(err?: segue.Error, result?: any)
function M.request(method, params, callback)
  local request = { method = method, params = params, callback = callback }
  if failure == "crashes" and count_recent_crashes() == 0 then
    failure = nil
  end
  if failure then
    local err = new_error("ServerStopped", "the server is not running; see :Segue log")
    return complete(request, err)
  end
  if state == "ready" then
    return send(request)
  end
  table.insert(queue, request)
  if state == "stopped" then
    M.start()
  end
end

--- Forget why the server was not started any more, so that the next request starts it; and that the
--- user was notified of a server that is not installed, so that each command is answered.
function M.reset_failure()
  not_found_notified = false
  crash_times = failure == "crashes" and {} or crash_times
  failure = nil
end

--- A number that grows each time the server exits. Sessions opened in an earlier generation must be
--- opened again.
---@return integer
function M.generation()
  return generation
end

--- Whether new requests fail: the server is not installed, crashed too often, or has another
--- protocol version.
---@return boolean
function M.is_unavailable()
  return failure ~= nil or not_found_notified
end

--- Set the function that runs when a server has started.
---@param callback fun()
function M.after_start(callback)
  after_start = callback
end

--- Why requests fail now, if they do.
---@return "not found"|"stopped"|nil
function M.trouble()
  return failure and "stopped" or not_found_notified and "not found" or nil
end

--- Set the function that runs before the server is asked to shut down.
---@param callback fun()
function M.before_shutdown(callback)
  before_shutdown = callback
end

---@class segue.ServerInfo
---@field state "stopped"|"starting"|"ready"|"stopping"|"failed"
---@field pid? integer
---@field version? string
---@field crashes integer In the last three minutes

--- The state of the server, without a request.
---@return segue.ServerInfo
function M.info()
  return {
    state = failure and "failed" or state,
    pid = pid,
    version = info and info.version,
    crashes = count_recent_crashes(),
  }
end

return M
