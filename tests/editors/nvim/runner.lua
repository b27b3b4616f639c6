-- Runs one test function in a real Neovim that has the plugin. Its environment:
--   SEGUE_SPEC       the file beside this one and the function in it: `conversation.reset`
--   SEGUE_ARGUMENTS  the arguments for the function, as JSON
--   SEGUE_REPORT     the file to write: the function's result and all notifications, as JSON

local t = { args = vim.json.decode(vim.env.SEGUE_ARGUMENTS), notices = {} }

---@diagnostic disable-next-line: duplicate-set-field -- replaced, to collect notifications
vim.notify = function(message, level)
  table.insert(t.notices, { message = message, level = level })
end

--- Process events until *condition* returns true. Raises an error after 20 seconds.
function t.wait(description, condition)
  assert(vim.wait(20000, condition, 2), "timed out: " .. description)
end

--- Call an asynchronous function of the API and wait for its callback. Returns error and result.
function t.call(name, ...)
  local response
  local args = { ... }
  args[select("#", ...) + 1] = function(err, result)
    response = { err = err, result = result }
  end
  require("segue")[name](unpack(args, 1, select("#", ...) + 1))
  t.wait("the callback of " .. name, function()
    return response
  end)
  return response.err, response.result
end

--- Call an asynchronous function of the API that must succeed. Returns its result.
function t.call_ok(name, ...)
  local err, result = t.call(name, ...)
  assert(not err, vim.inspect(err))
  return result
end

function t.user_message(content)
  return { type = "user_message", data = { content = content } }
end

function t.wait_until_stored()
  t.wait("all events are stored", function()
    return require("segue.registry").unsent() == 0
  end)
end

--- Wait until the Python test creates a flag file.
function t.wait_for_flag(name)
  t.wait(name, function()
    return vim.uv.fs_stat(vim.fs.joinpath(t.args.flags, name)) ~= nil
  end)
end

--- Create a flag file that the Python test waits for.
function t.set_flag(name)
  vim.fn.writefile({}, vim.fs.joinpath(t.args.flags, name))
end

--- Wait until the server is ready. Returns its process id.
function t.server_pid()
  t.wait("the server is ready", function()
    return require("segue.server").info().state == "ready"
  end)
  return require("segue.server").info().pid
end

--- Kill the server, and wait until the plugin has noticed.
function t.kill_server()
  local pid = t.server_pid()
  vim.uv.kill(pid, "sigkill")
  t.wait("the server has exited", function()
    return require("segue.server").info().pid ~= pid
  end)
end

function t.lines()
  return vim.api.nvim_buf_get_lines(0, 0, -1, false)
end

local function write_report(report)
  report.notices = t.notices
  report.editor = vim.uv.os_getpid()
  vim.fn.writefile({ vim.json.encode(report) }, vim.env.SEGUE_REPORT)
end

local file, name = vim.env.SEGUE_SPEC:match("^(%w+)%.([%w_]+)$")
local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local ok, result = xpcall(function()
  return dofile(vim.fs.joinpath(here, file .. ".lua"))[name](t) or {}
end, debug.traceback)
if not ok then
  write_report({ problem = result })
  vim.cmd("cquit!")
end
write_report(result)
vim.cmd("qa!")
