--- `segue watch`, which imports the conversations of other programs, while this Neovim runs; and the
--- notification, once on a machine, that there are some.

local config = require("segue.config")
local server = require("segue.server")

local M = {}

local MIN_DELAY_MS, MAX_DELAY_MS = 5000, 300000
local LONG_RUN_MS = 60000
local DISCOVER_TIMEOUT_MS = 30000
local WRONG_COMMAND = 2

local process ---@type vim.SystemObj?
local timer ---@type uv.uv_timer_t?
local delay_ms = MIN_DELAY_MS
local last_error = nil ---@type string?

---@param ended vim.SystemObj?
---@param result vim.SystemCompleted
---@param ran_ms integer
local function on_exit(ended, result, ran_ms)
  if process ~= ended then
    return -- it was stopped
  end
  process = nil
  if vim.v.exiting ~= vim.NIL or not config.get().watch then
    return
  end
  if result.code == WRONG_COMMAND then
    local reason = last_error or "its command is wrong"
    return config.notify("`segue watch` cannot run: " .. reason, vim.log.levels.ERROR)
  end
  if ran_ms > LONG_RUN_MS then
    delay_ms = MIN_DELAY_MS
  end
  timer = vim.defer_fn(M.update, delay_ms)
  delay_ms = math.min(delay_ms * 2, MAX_DELAY_MS)
end

local function start()
  local cmd = server.subcommand({ "watch", "--json" })
  local options = server.system_options() --[[@as vim.SystemOpts]]
  local begun = vim.uv.now()
  -- It ends when this pipe is closed, which happens however Neovim ends.
  options.stdin = true
  options.stdout = false
  options.stderr = function(_, data)
    local line = data and vim.trim(data):match("[^\n]*$")
    last_error = line ~= "" and line or last_error
  end
  local started ---@type vim.SystemObj?
  local ok, child = pcall(vim.system, cmd, options, function(result)
    local ran_ms = vim.uv.now() - begun
    vim.schedule(function()
      on_exit(started, result, ran_ms)
    end)
  end)
  -- Else the program is not installed: the server says so.
  started = ok and child or nil
  process = started
  vim.api.nvim_create_autocmd("VimLeavePre", {
    group = vim.api.nvim_create_augroup("segue.watch", { clear = true }),
    desc = "Segue: end the import of other programs' conversations",
    callback = function()
      if process then
        process:kill("sigterm") -- sooner than by the pipe, if it has just been started
      end
    end,
  })
end

--- Start or stop watching, as `vim.g.segue.watch` says.
function M.update()
  if timer and not timer:is_closing() then
    timer:stop()
    timer:close()
  end
  timer = nil
  local is_wanted = config.get().watch == true
  if is_wanted and not process then
    start()
  elseif not is_wanted and process then
    process:write(nil)
    process, delay_ms = nil, MIN_DELAY_MS
  end
end

---@return string
local function asked_file()
  return vim.fs.joinpath(vim.fn.stdpath("state") --[[@as string]], "segue-watch-offered")
end

--- Notify of the conversations that other programs have on this machine, unless that was done
--- before. Runs a program, and returns at once.
function M.offer()
  if vim.uv.fs_stat(asked_file()) then
    return
  end
  local options = server.system_options() --[[@as vim.SystemOpts]]
  options.text, options.timeout = true, DISCOVER_TIMEOUT_MS
  local cmd = server.subcommand({ "import", "--discover", "--json" })
  pcall(vim.system, cmd, options, function(result)
    local decoded, found = pcall(vim.json.decode, result.stdout or "")
    if result.code ~= 0 or not decoded or type(found) ~= "table" or #found == 0 then
      return
    end
    vim.schedule(function()
      vim.fn.writefile({}, asked_file())
      local names = vim.tbl_map(function(source)
        return source.name
      end, found)
      local message = "%s: conversations are here. To have them, and keep them up to date: "
        .. "require('segue').setup({ watch = true }), see :help segue-watch"
      config.notify(message:format(table.concat(names, ", ")))
    end)
  end)
end

--- The server has started: a person uses Segue here.
function M.after_start()
  M.update()
  if config.get().watch == nil and config.get().notify and #vim.api.nvim_list_uis() > 0 then
    M.offer()
  end
end

---@class segue.WatchInfo
---@field pid? integer
---@field problem? string What it said last

--- Whether it runs, without a request.
---@return segue.WatchInfo
function M.info()
  return { pid = process and process.pid, problem = last_error }
end

return M
