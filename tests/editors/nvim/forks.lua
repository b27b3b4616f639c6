-- Forking, going back, undoing and renaming, without a chat plugin.

local segue = require("segue")

local M = {}

local function talk(t)
  local session = t.call_ok("open", { mode = "new" })
  for number = 1, 3 do
    segue.append({
      t.user_message("question " .. number),
      { type = "text", data = { content = "answer " .. number } },
    }, { agent = "openai", model = "gpt-5" })
  end
  t.wait_until_stored()
  return session.id
end

local function content()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
end

local function wait_for_transcript(t, id, last)
  t.wait("the transcript", function()
    local name = vim.api.nvim_buf_get_name(0)
    return vim.startswith(name, "segue://" .. id) and content():find(last, 1, true)
  end)
end

local function wait_for_current(t, is_it)
  t.wait("another current conversation", function()
    local current = segue.current()
    return current and is_it(current.id)
  end)
  return segue.current()
end

-- Show the transcript, with the cursor in the turn of the question.
local function show_turn(t, id, question)
  vim.cmd.Segue("show " .. id)
  wait_for_transcript(t, id, "answer 3")
  vim.fn.search(question, "w")
end

function M.fork(t)
  local id = talk(t)
  show_turn(t, id, "question 2")
  vim.cmd.Segue("fork")
  local fork = wait_for_current(t, function(now)
    return now ~= id
  end)
  wait_for_transcript(t, fork.id, "answer 2")
  local shown = content()
  segue.append(t.user_message("another way"))
  t.wait_until_stored()
  vim.cmd.only()
  vim.cmd.enew()
  vim.cmd.Segue("fork a way of its own")
  local whole = wait_for_current(t, function(now)
    return now ~= fork.id
  end)
  return { id = id, fork = fork.id, shown = shown, whole = whole.id, record = whole }
end

function M.rewind_and_undo(t)
  local id = talk(t)
  show_turn(t, id, "question 3")
  vim.cmd.Segue("rewind")
  vim.cmd.enew()
  vim.cmd.Segue("rewind")
  vim.cmd.Segue("undo")
  t.wait("notices", function()
    return #t.notices >= 3
  end)
  vim.cmd.edit("segue://" .. id)
  wait_for_transcript(t, id, "answer 3")
  vim.fn.search("question 1", "w")
  vim.cmd.Segue("rewind")
  local fork = wait_for_current(t, function(now)
    return now ~= id
  end).id
  wait_for_transcript(t, fork, "answer 1")
  local report = { id = id, fork = fork, shown = content(), windows = #vim.api.nvim_list_wins() }
  segue.append(t.user_message("later"))
  t.wait_until_stored()
  vim.cmd.Segue("list archived")
  if t.args.restart then
    return report
  end
  vim.cmd.Segue("undo")
  wait_for_current(t, function(now)
    return now == id
  end)
  wait_for_transcript(t, id, "answer 3")
  segue.append(t.user_message("and on"))
  t.wait_until_stored()
  vim.wait(50)
  return report
end

-- From a buffer of another workspace.
function M.from_elsewhere(t)
  local id = talk(t)
  local here = vim.api.nvim_get_current_buf()
  vim.cmd.new()
  vim.b.segue_workspace = t.args.other
  local elsewhere = vim.api.nvim_get_current_buf()
  local current = {}
  local function note_current()
    vim.api.nvim_set_current_buf(here)
    table.insert(current, segue.current().id)
    vim.api.nvim_set_current_buf(elsewhere)
  end
  local fork = t.call_ok("fork", { session_id = id, archive_original = true }).id
  note_current()
  t.call_ok("undo", { session_id = fork })
  note_current()
  local copy = t.call_ok("fork", { session_id = id }).id
  t.call_ok("archive", { session_id = id })
  local refused = t.call("undo", { session_id = copy })
  return { expected = { fork, id }, current = current, refused = refused.message }
end

-- In another Neovim than the one that went back.
function M.undo_later(t)
  local fork = t.call_ok("open", nil).id
  local original = t.call_ok("undo", {})
  return { fork = fork, original = original.id, events = original.event_count }
end

function M.rename(t)
  local id = talk(t)
  local other = t.call_ok("open", { mode = "new" }).id
  segue.append(t.user_message("the other"))
  t.wait_until_stored()
  vim.cmd.Segue("rename  Fix | the \"parser\"  ")
  t.wait("the title", function()
    return segue.current().title == 'Fix | the "parser"'
  end)
  vim.cmd.Segue("show " .. id)
  wait_for_transcript(t, id, "answer 3")
  local asked, answers = {}, { "", "Typed", vim.NIL }
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to answer without a user
  vim.ui.input = function(opts, on_confirm)
    table.insert(asked, { opts.prompt, opts.default })
    local answer = table.remove(answers)
    on_confirm(answer ~= vim.NIL and answer or nil)
  end
  for count = 0, 2 do
    vim.cmd.Segue("rename")
    t.wait("a notice", function()
      return #t.notices > count
    end)
  end
  return { id = id, other = other, asked = asked, refused = t.call("set_title", { title = "" }) }
end

-- What is shown of who answered.
function M.who_answered(t)
  local id = talk(t)
  local chunks = {}
  local echo = vim.api.nvim_echo
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its output
  vim.api.nvim_echo = function(each, ...)
    vim.list_extend(chunks, each)
    return echo(each, ...)
  end
  vim.cmd.Segue("info")
  vim.cmd.Segue("list")
  t.wait("the list", function()
    return table.concat(vim.tbl_map(function(chunk)
      return chunk[1]
    end, chunks)):find("just now", 1, true)
  end)
  vim.cmd.Segue("show")
  wait_for_transcript(t, id, "answer 3")
  t.wait("who answered", function()
    return content():find("gpt-5", 1, true)
  end)
  local output = vim.tbl_map(function(chunk)
    return chunk[1]
  end, chunks)
  local session = t.call_ok("list", {}).sessions[1]
  return {
    output = table.concat(output),
    lines = t.lines(),
    client = session.client,
    agent = session.agent,
    model = session.model,
    invocations = t.call_ok("events", {}).invocations,
  }
end

function M.show(t)
  vim.cmd.Segue("show " .. t.args.id)
  wait_for_transcript(t, t.args.id, t.args.last)
  t.wait("who answered", function()
    return content():find(", with ", 1, true)
  end)
  return { lines = t.lines() }
end

-- Calls of several origins in one queue.
function M.origins(t)
  segue.append(t.user_message("one"), { agent = "a", model = "m" })
  segue.append({ type = "text", data = { content = "two" } }, { agent = "a", model = "m" })
  segue.append(t.user_message("three"))
  segue.append({ type = "text", data = { content = "four" } }, { agent = ("n\n"):rep(300) })
  t.wait_until_stored()
  local current = segue.current()
  return { agent = current.agent, model = current.model }
end

-- Go on with what another user shares.
function M.shared(t)
  local rows
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to see the rows
  vim.ui.select = function(items, opts)
    rows = vim.tbl_map(opts.format_item, items)
  end
  vim.cmd.Segue("resume")
  t.wait("the list", function()
    return rows
  end)
  local opened = t.call_ok("open", { session_id = t.args.shared })
  local report = { rows = rows, shared_by = opened.shared_by }
  segue.append(t.user_message("and I"))
  t.wait_until_stored()
  report.fork = segue.current().id
  return report
end

return M
