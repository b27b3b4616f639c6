-- Runs a case of outbox_cases.json, which explains the steps.

local segue = require("segue")

local M = {}

local function nested(depth)
  local value = {}
  for _ = 2, depth do
    value = { value }
  end
  return value
end

local function circular()
  local value = {}
  value.itself = value
  return value
end

local makers = {
  NaN = function()
    return 0 / 0
  end,
  Infinity = function()
    return math.huge
  end,
  ["-Infinity"] = function()
    return -math.huge
  end,
  ["function"] = function()
    return print
  end,
  circular = circular,
  nested = function(value)
    return nested(value.depth)
  end,
  text = function(value)
    return ("x"):rep(value.length)
  end,
  userdata = function()
    return newproxy(true)
  end,
  thread = function()
    return coroutine.create(print)
  end,
  ["mixed table"] = function()
    return { 1, name = 2 }
  end,
  ["table as key"] = function()
    return { [{}] = 1 }
  end,
}

local function made(value)
  if type(value) ~= "table" then
    return value
  elseif value["$"] then
    return assert(makers[value["$"]], value["$"])(value)
  end
  return vim.tbl_map(made, value)
end

local function kill_server(t)
  local info = require("segue.server").info()
  if info.pid then
    -- With a proxy, the server is its child.
    local child = vim.fs.joinpath(t.args.flags, "server process")
    if vim.uv.fs_stat(child) then
      vim.uv.kill(tonumber(vim.fn.readfile(child)[1]), "sigkill")
    end
    vim.uv.kill(info.pid, "sigkill")
    t.wait("the server has exited", function()
      return require("segue.server").info().pid ~= info.pid
    end)
  end
end

local step_kinds = {}

function step_kinds.open(run, step)
  run.ids[step.open] = run.t.call_ok("open", { mode = "new" }).id
end

function step_kinds.append(run, step)
  local events = made(step.events)
  local answer = {}
  run.answers[step.call] = answer
  segue.append(events, { session_id = run.ids[step.append] }, function(err, result)
    assert(not answer.is_answered, "a callback ran twice")
    answer.is_answered = true
    answer.err, answer.session = err, result and result.session_id
  end)
  if step["then"] then
    events[1].data.content = made(step["then"])
  end
end

function step_kinds.wait(run, step)
  for _, call in ipairs(step.wait) do
    run.t.wait("the call " .. call, function()
      return run.answers[call].is_answered
    end)
  end
end

function step_kinds.reset(run, step)
  run.ids[step.open] = run.t.call_ok("reset", { session_id = run.ids[step.reset] }).id
end

function step_kinds.archive(run, step)
  run.t.call_ok("archive", { session_id = run.ids[step.archive] })
end

function step_kinds.delete(run, step)
  run.t.call_ok("delete", { session_id = run.ids[step.delete] })
end

function step_kinds.elsewhere(run, step)
  run.count = (run.count or 0) + 1
  local file = vim.fs.joinpath(run.t.args.flags, "elsewhere" .. run.count)
  local request =
    { action = step.elsewhere, id = run.ids[step.session], events = step.events }
  vim.fn.writefile({ vim.json.encode(request) }, file .. ".new")
  vim.uv.fs_rename(file .. ".new", file)
  run.t.wait_for_flag(("elsewhere%d done"):format(run.count))
end

function step_kinds.server(run, step)
  local t = run.t
  if step.server == "dies before it answers" then
    t.set_flag("die before the answer")
    return
  elseif step.server == "can start" then
    vim.g.segue = { cmd = t.args.cmd }
    vim.cmd.Segue("info")
    return
  elseif step.server == "cannot start" then
    vim.g.segue = { cmd = { t.args.cmd[1], "-c", "raise SystemExit(1)" } }
  end
  kill_server(t)
end

function step_kinds.store(run, step)
  local database = run.t.args.database
  kill_server(run.t)
  local from, to = database, database .. ".kept"
  if step.store == "back" then
    from, to = to, from
  end
  for _, suffix in ipairs({ "", "-wal", "-shm" }) do
    vim.uv.fs_rename(from .. suffix, to .. suffix)
  end
  if step.store == "away" then
    assert(vim.uv.fs_copyfile(run.t.args.other_database, database))
  end
end

local KINDS =
  { "append", "wait", "reset", "archive", "delete", "elsewhere", "server", "store", "open" }

local function run_step(run, step)
  for _, kind in ipairs(KINDS) do
    if step[kind] then
      return step_kinds[kind](run, step)
    end
  end
  error("an unknown step: " .. vim.inspect(step))
end

local function report_of(run)
  local answers = vim.empty_dict()
  for call, answer in pairs(run.answers) do
    local err = answer.err
    answers[call] = {
      session = answer.session,
      refused = err and (err.kind or (err.code == -32602 and "InvalidParams") or err.code),
      says = err and err.message,
    }
  end
  return { ids = run.ids, answers = answers, waiting = require("segue.registry").unsent() }
end

-- A fork has a name of its own; a session that was replaced keeps its name.
local function rename(run, from, to)
  for fork, original in pairs(run.t.args.forks or {}) do
    if run.ids[original] == from then
      run.ids[fork] = to
      return
    end
  end
  for name, id in pairs(run.ids) do
    run.ids[name] = id == from and to or id
  end
end

local function new_run(t)
  local run = { t = t, ids = vim.empty_dict(), answers = {} }
  segue.on("moved", function(session, detail)
    rename(run, detail.from, session.id)
  end)
  return run
end

function M.case(t)
  local run = new_run(t)
  for _, step in ipairs(t.args.steps) do
    run_step(run, step)
  end
  return report_of(run)
end

-- How many requests are made while events wait for a database that is not there.
function M.pause(t)
  local server = require("segue.server")
  local request, count = server.request, 0
  server.request = function(...)
    count = count + 1
    return request(...)
  end
  segue.append(t.user_message("first"))
  t.wait("a notice", function()
    return #t.notices > 0
  end)
  local before, started = count, vim.uv.now()
  for number = 1, 100 do
    segue.append(t.user_message("number " .. number))
    vim.wait(8)
  end
  return { requests = count - before, ms = vim.uv.now() - started, status = segue.status() }
end

-- Every value that cannot be stored, one after the other.
function M.values(t)
  local reports = {}
  for _, value in ipairs(t.args.values) do
    local run = new_run(t)
    local bad = { type = "note", data = { n = value } }
    for _, step in ipairs({
      { open = "a" },
      { append = "a", events = { bad }, call = "1" },
      { append = "a", events = { t.user_message("after it") }, call = "2" },
      { wait = { "1", "2" } },
    }) do
      run_step(run, step)
    end
    table.insert(reports, report_of(run))
  end
  return { reports = reports }
end

return M
