-- One life of a real editor with the plugin. It is told what to do by its environment:
--   SEGUE_SPEC    a file beside this one and a function in it: `conversation.first`
--   SEGUE_REPORT  the file that gets what the function returned, and every notice, as JSON
--   SEGUE_GIVEN   what the function is given, as JSON

local t = { given = vim.json.decode(vim.env.SEGUE_GIVEN), notices = {} }

---@diagnostic disable-next-line: duplicate-set-field
vim.notify = function(message, level)
  table.insert(t.notices, { message = message, level = level })
end

--- Wait until it is so.
function t.wait(what, so)
  assert(vim.wait(20000, so, 2), "waited in vain: " .. what)
end

--- Call an asynchronous function and wait for its result.
function t.call(name, ...)
  local answer
  local args = { ... }
  args[select("#", ...) + 1] = function(err, result)
    answer = { err = err, result = result }
  end
  require("segue")[name](unpack(args, 1, select("#", ...) + 1))
  t.wait("the answer to " .. name, function()
    return answer
  end)
  return answer.err, answer.result
end

--- The same, for what must succeed.
function t.ok(name, ...)
  local err, result = t.call(name, ...)
  assert(not err, vim.inspect(err))
  return result
end

function t.said(content)
  return { type = "user_message", data = { content = content } }
end

function t.wait_until_stored()
  t.wait("all is stored", function()
    return require("segue.registry").unsent() == 0
  end)
end

--- Wait for a sign from outside, or give one.
function t.wait_for(name)
  t.wait(name, function()
    return vim.uv.fs_stat(vim.fs.joinpath(t.given.signs, name)) ~= nil
  end)
end

function t.sign(name)
  vim.fn.writefile({}, vim.fs.joinpath(t.given.signs, name))
end

function t.server_pid()
  t.wait("the server runs", function()
    return require("segue.server").info().state == "ready"
  end)
  return require("segue.server").info().pid
end

--- Send the server a signal, and wait until it is gone.
function t.kill_server()
  local pid = t.server_pid()
  vim.uv.kill(pid, "sigkill")
  t.wait("the server is gone", function()
    return require("segue.server").info().pid ~= pid
  end)
end

function t.lines()
  return vim.api.nvim_buf_get_lines(0, 0, -1, false)
end

local function report(seen)
  seen.notices = t.notices
  seen.editor = vim.uv.os_getpid()
  vim.fn.writefile({ vim.json.encode(seen) }, vim.env.SEGUE_REPORT)
end

t.report = report

local file, name = vim.env.SEGUE_SPEC:match("^(%w+)%.([%w_]+)$")
local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local ok, seen = xpcall(function()
  return dofile(vim.fs.joinpath(here, file .. ".lua"))[name](t) or {}
end, debug.traceback)
if not ok then
  report({ problem = seen })
  vim.cmd("cquit!")
end
report(seen)
vim.cmd("qa!")
