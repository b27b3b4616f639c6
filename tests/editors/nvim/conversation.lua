-- What people do: talk, leave, come back, start afresh.

local segue = require("segue")

local M = {}

local function contents(session)
  return vim.tbl_map(function(event)
    return event.data.content
  end, session.events)
end

local function opened(session)
  return {
    id = session.id,
    resumed = session.resumed,
    reason = session.reason,
    contents = contents(session),
    boundary = session.boundary and session.boundary.data.content,
  }
end

function M.open(t)
  local heard = {}
  segue.on("resumed", function(session, detail)
    heard = { session.id, detail.reason }
  end)
  local session = t.ok("open", nil)
  local seen = opened(session)
  vim.wait(50)
  seen.heard = heard
  return seen
end

function M.talk(t)
  assert(segue.current() == nil)
  local appended = {}
  segue.on("appended", function(session, events)
    table.insert(appended, { session = session.id, count = #events, seq = events[#events].seq })
  end)
  local ids = segue.append({ t.said("one"), { type = "text", data = { content = "two" } } })
  local result = t.ok("append", t.said("three"), nil)
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
  local before = t.ok("open", nil)
  local old = before.id
  local heard
  segue.on("reset", function(session, detail)
    heard = { session.id, detail.from }
  end)
  segue.append(t.said("the last of the old"))
  vim.cmd.Segue("new")
  segue.append(t.said("the first of the new"))
  segue.append(t.said("to the old id"), { session_id = old })
  t.wait_until_stored()
  vim.wait(20)
  return { old = old, new = segue.current().id, heard = heard }
end

function M.archive_goes_on_afresh(t)
  segue.append(t.said("one"))
  t.wait_until_stored()
  local old = segue.current().id
  vim.cmd.Segue("archive")
  t.wait("nothing is open", function()
    return segue.current() == nil
  end)
  segue.append(t.said("two"))
  t.wait_until_stored()
  local new = segue.current().id
  -- An archived one that is asked for comes back with what is said in it.
  t.ok("open", { session_id = old })
  segue.append(t.said("three"))
  t.wait_until_stored()
  return { old = old, new = new, now = segue.current().id }
end

function M.first_window(t)
  local session = t.ok("open", nil)
  segue.append(t.said("from the first"))
  t.wait_until_stored()
  local id = session.id
  t.sign("first is here")
  t.wait_for("second has spoken")
  if t.given.server_dies then
    t.kill_server()
  end
  local moved
  segue.on("moved", function(now, detail)
    moved = { now.id, detail.from }
  end)
  segue.append(t.said("one more from the first"))
  segue.append(t.said("and another"), { session_id = id })
  t.wait_until_stored()
  segue.append(t.said("and the last"))
  t.wait_until_stored()
  vim.wait(20)
  return { before = id, after = session.id, current = segue.current().id, moved = moved }
end

function M.second_window(t)
  local session = t.ok("open", nil)
  segue.append(t.said("from the second"))
  t.wait_until_stored()
  return opened(session)
end

function M.gone_meanwhile(t)
  segue.append(t.said("one"))
  t.wait_until_stored()
  local session = segue.current()
  local before = session.id
  t.sign("spoken")
  t.wait_for("gone")
  segue.append(t.said("two"))
  t.wait_until_stored()
  return { before = before, after = session.id }
end

function M.odd_values(t)
  local big = ("héllo \240\159\152\128 "):rep(450000)
  local before = vim.uv.hrtime()
  local data = { content = "x", kept = { vim.NIL, { a = vim.NIL, b = vim.empty_dict(), c = {} } } }
  segue.append({
    t.said("bad \255 byte, half \237\160\128, cut \240\159"),
    t.said("NUL \0 here"),
    { type = "text", data = data },
    t.said(big),
    t.said("after"),
  })
  data.content = "changed after it was handed in"
  local took = (vim.uv.hrtime() - before) / 1e6
  t.wait_until_stored()
  local page = t.ok("events", { after = 0, limit = 3 })
  return { took = took, big = #big, back = page.events[3].data.kept[2].a == vim.NIL }
end

function M.read_half_a_pair(t)
  local session = t.ok("open", nil)
  return { contents = contents(session) }
end

function M.refused(t)
  local err = t.call("append", { type = "user_message", data = { content = print } }, nil)
  local nan = t.call("append", { type = "note", data = { x = 0 / 0 } }, nil)
  local loop = {}
  loop.loop = loop
  local deep = t.call("append", { type = "note", data = loop }, nil)
  local id = segue.append(t.said("one"))[1]
  t.wait_until_stored()
  -- The one that the server refuses is named and left out; its neighbours are stored.
  segue.append(t.said("two"))
  segue.append({ id = "wrong", type = "text", data = { contents = "no such field" } })
  segue.append(t.said("three"))
  t.wait_until_stored()
  segue.append(t.said("four"))
  segue.append({ id = id, type = "text", data = { content = "another under the same id" } })
  segue.append(t.said("five"))
  t.wait_until_stored()
  return { errors = { err.message, nan.message, deep.message }, id = id }
end

function M.store_in_trouble(t)
  segue.append(t.said("one"))
  segue.append(t.said("two"))
  t.wait("a notice", function()
    return #t.notices > 0
  end)
  t.sign("said so")
  t.wait_for("mended")
  local unsent = require("segue.registry").unsent()
  segue.append(t.said("three"))
  t.wait_until_stored()
  return { unsent = unsent }
end

return M
