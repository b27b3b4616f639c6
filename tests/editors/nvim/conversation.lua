-- Append, resume, reset, archive, conflicts, and values that cannot be stored.

local segue = require("segue")

local M = {}

local function contents(session)
  return vim.tbl_map(function(event)
    return event.data.content
  end, session.events)
end

local function describe(session)
  return {
    id = session.id,
    resumed = session.resumed,
    reason = session.reason,
    reason_code = session.reason_code,
    contents = contents(session),
    boundary = session.boundary and session.boundary.data.content,
  }
end

function M.open(t)
  local resumed = {}
  segue.on("resumed", function(session, detail)
    resumed = { session.id, detail.reason }
  end)
  local session = t.call_ok("open", nil)
  local report = describe(session)
  vim.wait(50)
  report.resumed_event = resumed
  return report
end

function M.relocate(t)
  local session = t.call_ok("open", nil)
  local asked = {}
  vim.ui.select = function(items, opts, on_choice)
    table.insert(asked, opts.prompt)
    on_choice(items[tonumber(vim.env.ANSWER)], tonumber(vim.env.ANSWER))
  end
  vim.cmd.Segue("relocate")
  vim.wait(5000, function()
    return #asked > 0
  end)
  t.call_ok("list", {})
  vim.wait(50)
  local page = t.call_ok("list", {})
  return {
    opened = session.id,
    asked = asked,
    listed = vim.tbl_map(function(each)
      return each.id
    end, page.sessions),
  }
end

function M.append_three(t)
  assert(segue.current() == nil)
  local appended = {}
  segue.on("appended", function(session, events)
    table.insert(appended, { session = session.id, count = #events, seq = events[#events].seq })
  end)
  local ids = segue.append({ t.user_message("one"), { type = "text", data = { content = "two" } } })
  local result = t.call_ok("append", t.user_message("three"), nil)
  t.wait_until_stored()
  vim.wait(20)
  return {
    session = segue.current().id,
    title = segue.current().title,
    ids = ids,
    third = result.events,
    appended = appended,
    status = segue.status(),
  }
end

function M.reset(t)
  local before = t.call_ok("open", nil)
  local old = before.id
  local reset
  segue.on("reset", function(session, detail)
    reset = { session.id, detail.from }
  end)
  segue.append(t.user_message("last of the old session"))
  vim.cmd.Segue("new")
  segue.append(t.user_message("first of the new session"))
  segue.append(t.user_message("to the old id"), { session_id = old })
  t.wait_until_stored()
  vim.wait(20)
  return { old = old, new = segue.current().id, reset_event = reset }
end

function M.archive_then_continue(t)
  segue.append(t.user_message("one"))
  t.wait_until_stored()
  local old = segue.current().id
  vim.cmd.Segue("archive")
  t.wait("no session is open", function()
    return segue.current() == nil
  end)
  segue.append(t.user_message("two"))
  t.wait_until_stored()
  local new = segue.current().id
  -- An archived session that is opened by id is unarchived by an append.
  t.call_ok("open", { session_id = old })
  segue.append(t.user_message("three"))
  t.wait_until_stored()
  return { old = old, new = new, now = segue.current().id }
end

function M.first_window(t)
  local session = t.call_ok("open", nil)
  segue.append(t.user_message("from the first"))
  t.wait_until_stored()
  local id = session.id
  t.set_flag("first window is open")
  t.wait_for_flag("second window has appended")
  if t.args.crash == "before the append" then
    t.kill_server()
  elseif t.args.crash == "before the fork is answered" then
    local flag = vim.fs.joinpath(t.args.flags, "die before the answer")
    vim.fn.writefile({ "session/fork" }, flag)
  end
  if t.args.crash == "the fork is answered with an error" then
    local server = require("segue.server")
    local request = server.request
    server.request = function(method, params, callback)
      request(method, params, function(err, result)
        if method == "session/fork" and result then
          server.request = request
          err, result = { code = -32803, kind = "StorageUnavailable", message = "late" }, nil
        end
        callback(err, result)
      end)
    end
  end
  local moved
  segue.on("moved", function(now, detail)
    moved = { now.id, detail.from }
  end)
  segue.append(t.user_message("one more from the first"))
  segue.append(t.user_message("and another"), { session_id = id })
  t.wait_until_stored()
  segue.append(t.user_message("and the last"))
  t.wait_until_stored()
  vim.wait(20)
  -- Only appends follow the conversation into its fork.
  t.call_ok("set_title", { session_id = id, title = "the original" })
  t.call_ok("archive", { session_id = id })
  return {
    before = id,
    after = session.id,
    current = segue.current().id,
    moved = moved,
    reason = { session.resumed, session.reason },
  }
end

function M.second_window(t)
  local session = t.call_ok("open", nil)
  segue.append(t.user_message("from the second"))
  t.wait_until_stored()
  return describe(session)
end

function M.archived_or_deleted_elsewhere(t)
  segue.append(t.user_message("one"))
  t.wait_until_stored()
  local before = segue.current().id
  t.set_flag("appended")
  t.wait_for_flag("archived or deleted")
  local err = t.call("append", t.user_message("two"), nil)
  t.call("append", t.user_message("three"), { session_id = before })
  segue.append(t.user_message("four"))
  t.wait_until_stored()
  return { error = err and err.kind, now = segue.current().id }
end

function M.unusual_values(t)
  local big = ("héllo \240\159\152\128 "):rep(450000)
  local before = vim.uv.hrtime()
  local data = { content = "x", kept = { vim.NIL, { a = vim.NIL, b = vim.empty_dict(), c = {} } } }
  segue.append({
    t.user_message("bad \255 byte, half \237\160\128, cut \240\159"),
    t.user_message("NUL \0 here"),
    { type = "text", data = data },
    t.user_message(big),
    t.user_message("after"),
  })
  data.content = "changed after append"
  local milliseconds = (vim.uv.hrtime() - before) / 1e6
  t.wait_until_stored()
  local page = t.call_ok("events", { after = 0, limit = 3 })
  return {
    milliseconds = milliseconds,
    big = #big,
    null_is_kept = page.events[3].data.kept[2].a == vim.NIL,
  }
end

function M.read_lone_surrogates(t)
  local session = t.call_ok("open", nil)
  return { contents = contents(session) }
end

function M.rejected_events(t)
  local err = t.call("append", { type = "user_message", data = { content = print } }, nil)
  local nan = t.call("append", { type = "note", data = { x = 0 / 0 } }, nil)
  local deep = {}
  for _ = 1, 300 do
    deep = { deep }
  end
  deep = t.call("append", { type = "note", data = { deep = deep } }, nil)
  local id = segue.append(t.user_message("one"))[1]
  t.wait_until_stored()
  -- The server rejects one event; those before and after it are stored.
  segue.append(t.user_message("two"))
  segue.append({ id = "wrong", type = "text", data = { contents = "no such field" } })
  segue.append(t.user_message("three"))
  t.wait_until_stored()
  segue.append(t.user_message("four"))
  segue.append({ id = id, type = "text", data = { content = "another event with the same id" } })
  segue.append(t.user_message("five"))
  t.wait_until_stored()
  return { errors = { err.message, nan.message, deep.message }, id = id }
end

function M.database_unavailable(t)
  segue.append(t.user_message("one"))
  segue.append(t.user_message("two"))
  t.wait("a notice", function()
    return #t.notices > 0
  end)
  t.set_flag("notified")
  t.wait_for_flag("repaired")
  local unsent = require("segue.registry").unsent()
  segue.append(t.user_message("three"))
  t.wait_until_stored()
  return { unsent = unsent }
end

return M
