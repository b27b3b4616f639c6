-- What is shown, in a Neovim with a screen; and text that is not fit to be shown as it is.

local segue = require("segue")

local M = {}

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local start_child = dofile(vim.fs.joinpath(here, "child.lua")).start

local MESSAGES = [[
  local notify = require("segue.config").notify
  notify(("a long message "):rep(20), vim.log.levels.ERROR)
  notify("two\nlines, and " .. ("界"):rep(100), vim.log.levels.WARN)
  notify(("i"):rep(300))
  notify("the last one, which is long enough to be cut somewhere before its end", 4)
]]

-- Whether Neovim waits for ENTER after several long messages, for several settings.
function M.messages(t)
  local report = { waiting = {} }
  for _, settings in ipairs({
    "set cmdheight=0",
    "set cmdheight=1",
    "set cmdheight=2",
    "set cmdheight=1 laststatus=0 ruler showcmd shortmess=",
    "set cmdheight=1 columns=20",
  }) do
    local child = start_child(t, { settings })
    child.run(MESSAGES)
    if child.mode().blocking then
      table.insert(report.waiting, settings)
    end
    if settings == "set cmdheight=1" then
      t.wait("the last message", function()
        report.shown = child.last_line()
        return report.shown:find("the last one", 1, true)
      end)
      report.kept = child.lua("return require('segue.messages').kept()")
      child.lua("vim.cmd.checkhealth('segue')")
      report.health = child.lua("return vim.api.nvim_buf_get_lines(0, 0, -1, false)")
    end
    child.stop()
  end
  return report
end

-- Each of the messages that come by themselves while an answer streams.
function M.events(t)
  local child = start_child(t)
  local report = { waiting = {} }
  local function try(name, code)
    child.run(code)
    if child.mode().blocking then
      table.insert(report.waiting, name)
      child.request("nvim_input", "<CR>")
    end
  end
  child.lua([[
    local segue = require("segue")
    segue.append({ type = "user_message", data = { content = ("a long title "):rep(20) } })
    assert(vim.wait(10000, function() return require("segue.registry").unsent() == 0 end))
  ]])
  try("after an error of another plugin", [[
    vim.api.nvim_echo({ { "an error of another plugin" } }, true, { err = true })
    require("segue.config").notify("in the same cycle", vim.log.levels.WARN)
  ]])
  try("refused", [[require("segue").append({ type = "note", data = { [("n"):rep(90)] = print } })]])
  try("refused by the server", [[
    require("segue").append({ type = "user_message", data = {} })
    require("segue").append({ type = "text", data = {} })
  ]])
  try("a message of the server", [[
    local client = vim.lsp.get_clients({ name = "segue" })[1]
    local method = "window/showMessage"
    local handler = client.handlers[method] or vim.lsp.handlers[method]
    handler(nil, { type = 1, message = ("long\n"):rep(40) }, { client_id = client.id })
    handler(nil, { type = 3, message = ("long\n"):rep(40) }, { client_id = client.id })
  ]])
  try("a listener that fails", [[
    require("segue").on("appended", function() error(("long "):rep(40)) end)
    require("segue").append({ type = "text", data = { content = "x" } })
  ]])
  for _ = 1, 4 do
    try("a crash of the server", [[
      local server = require("segue.server")
      vim.wait(5000, function() return server.info().state == "ready" end)
      vim.uv.kill(server.info().pid, "sigkill")
      vim.wait(100)
    ]])
  end
  report.mode = child.mode()
  child.stop()
  return report
end

-- What is said by itself and by the commands for forks, on a screen of 80 columns.
function M.forks(t)
  local child = start_child(t, {}, 80)
  local report = { waiting = {}, lines = {} }
  local function see(line, code, ...)
    child.run(code, ...)
    t.wait(line, function()
      return child.last_line():find(line, 1, true)
    end)
    table.insert(report.lines, child.last_line())
    if child.mode().blocking then
      table.insert(report.waiting, line)
    end
  end
  local id = child.lua([[
    local segue = require("segue")
    for number = 1, 2 do
      segue.append({
        { type = "user_message", data = { content = "question " .. number } },
        { type = "text", data = { content = "answer " .. number } },
      })
    end
    assert(vim.wait(10000, function() return require("segue.registry").unsent() == 0 end))
    vim.cmd.Segue("show")
    assert(vim.wait(10000, function() return vim.fn.search("answer 2", "w") > 0 end))
    return segue.current().id
  ]])
  t.call_ok("open", { session_id = id })
  t.call_ok("append", t.user_message("elsewhere"), nil)
  see("in a copy", [[
    require("segue").append({ type = "user_message", data = { content = "here" } })
  ]])
  see("forked as", [[vim.fn.search("question 1", "w"); vim.cmd.Segue("fork")]])
  see("went back", [[
    vim.cmd.edit("segue://" .. ...)
    vim.wait(5000, function() return vim.fn.search("question 1", "w") > 0 end)
    vim.cmd.Segue("rewind")
  ]], id)
  see("undone", [[vim.cmd.Segue("undo")]])
  see("renamed", [[vim.cmd.Segue("rename A better title")]])
  child.stop()
  return report
end

function M.on_the_command_line(t)
  local child = start_child(t)
  child.request("nvim_input", ":echo 1")
  child.run(MESSAGES)
  local during = child.mode()
  child.request("nvim_input", "<C-u><Esc>")
  t.wait("the message", function()
    return child.last_line():find("segue: the last one", 1, true)
  end)
  local report = { during = during, after = child.mode() }
  child.stop()
  return report
end

function M.hostile_text(t)
  local bad = "a\nb\r\27[31m`c`\226\128\174d %{e} \226\129\166f\226\128\141g"
  t.call_ok("open", { mode = "new" })
  t.call_ok("append", {
    { type = "user_message", data = { content = bad } },
    { type = "tool_call", data = { id = "1", name = bad, input = { [bad] = bad } } },
    { type = "tool_call", data = { id = "2", name = "nul\0l", input = vim.NIL } },
    { type = "skill_invocation", data = { name = bad, content = "s\0\r\n\226\128\168t" } },
    { type = "out_of_band_output", data = { name = bad, content = bad } },
    { type = bad, data = { x = 1 } },
  }, nil)
  local id = segue.current().id
  vim.cmd.Segue("show")
  t.wait("the last event", function()
    return table.concat(t.lines(), "\n"):find('{"x":1}', 1, true)
  end)
  local lines = t.lines()
  local echoed, selected = {}, {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its output
  vim.api.nvim_echo = function(chunks)
    for _, chunk in ipairs(chunks) do
      table.insert(echoed, chunk[1])
    end
  end
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its items
  vim.ui.select = function(items, opts)
    table.insert(selected, opts.format_item(items[1]))
  end
  vim.cmd.Segue("info")
  vim.cmd.Segue("list")
  vim.cmd.Segue("resume")
  t.wait("the list", function()
    return #selected > 0
  end)
  return {
    lines = vim.tbl_map(function(line)
      return (line:gsub("%z", "<NUL>"))
    end, lines),
    shown = table.concat(echoed, " | "),
    selected = selected[1],
    status = segue.status(),
    title = segue.current().title,
    id = id,
  }
end

-- A message in pieces, which begins on one page, goes on on the next one and then while it is shown.
function M.pieces(t)
  local function pieces(first, last)
    local events = {}
    for number = first, last do
      local content = ("word %d%s"):format(number, number % 10 == 0 and "\n" or " ")
      table.insert(events, { type = "text", data = { content = content, message = "m" } })
    end
    return events
  end
  t.call_ok("open", { mode = "new" })
  t.call_ok("append", {
    { type = "user_message", data = { content = "question 1" } },
    { type = "thinking", data = { content = "Let ", message = "m" } },
    { type = "thinking", data = { content = "me", message = "m" } },
  }, nil)
  t.call_ok("append", pieces(1, 125), nil)
  vim.cmd.Segue("show")
  t.wait("the newest page", function()
    return table.concat(t.lines(), "\n"):find("word 125", 1, true)
  end)
  local newest = t.lines()
  vim.cmd("normal! gg")
  vim.api.nvim_exec_autocmds("CursorMoved", { buffer = 0 })
  t.wait("the oldest page", function()
    return table.concat(t.lines(), "\n"):find("question 1", 1, true)
  end)
  local whole = t.lines()
  vim.cmd("normal! G")
  local appended = pieces(126, 129)
  table.insert(appended, { type = "text", data = { content = "another", message = "n" } })
  table.insert(appended, { type = "user_message", data = { content = "question 2" } })
  t.call_ok("append", appended, nil)
  t.wait("what was appended", function()
    return table.concat(t.lines(), "\n"):find("question 2", 1, true)
  end)
  local transcript, buffer = require("segue.transcript"), vim.api.nvim_get_current_buf()
  local page = t.call_ok("events", { session_id = segue.current().id, limit = 1000 })
  local converter = require("segue.integrations.codecompanion.converter")
  return {
    newest = newest,
    whole = whole,
    appended = t.lines(),
    at_end = vim.api.nvim_win_get_cursor(0)[1] == vim.api.nvim_buf_line_count(0),
    first_turn = transcript.place(buffer, 3),
    last_turn = transcript.place(buffer, vim.api.nvim_buf_line_count(0)),
    events = page.events,
    restored = converter.to_messages(vim.list_slice(page.events, 1, 132)).turns,
  }
end

-- What an agent says beside its answer: thoughts and plans are folded.
function M.agent(t)
  t.call_ok("open", { mode = "new" })
  t.call_ok("append", {
    { type = "user_message", data = { content = "question" } },
    { type = "thinking", data = { content = "a\nb" } },
    { type = "plan", data = { entries = { { content = "one", status = "completed" }, "two\nlines" } } },
    { type = "permission", data = { tool_use_id = "1", options = {}, outcome = "selected", option = "always" } },
    { type = "text", data = { content = "answer" } },
    { type = "turn_end", data = { stop_reason = "error", error = "no more" } },
  }, nil)
  vim.cmd.Segue("show")
  t.wait("the conversation", function()
    return table.concat(t.lines(), "\n"):find("no more", 1, true)
  end)
  local folded, headings = {}, {}
  for number, line in ipairs(t.lines()) do
    local heading = line:match("^## (.*) ·")
    if heading then
      table.insert(headings, heading)
      if vim.fn.foldclosed(number) == number then
        table.insert(folded, heading)
      end
    end
  end
  vim.cmd.enew()
  return {
    lines = headings,
    folded = folded,
    text = table.concat(vim.api.nvim_buf_get_lines(vim.fn.bufnr("#"), 0, -1, false), "\n"),
    folding_elsewhere = vim.wo.foldmethod,
  }
end

-- The name of a transcript, its folds, and the syntax of the code in it.
-- As the user, or Neovim from version 0.12 on, starts it.
local function start_treesitter()
  vim.api.nvim_create_autocmd("FileType", {
    pattern = "markdown",
    callback = function()
      vim.treesitter.start()
    end,
  })
end

-- Whether treesitter highlights a transcript in which code of a language without a parser follows.
function M.treesitter(t)
  start_treesitter()
  local function append(language)
    local content = ("```%s\n%s\n```"):format(language, language)
    t.call_ok("append", { { type = "text", data = { content = content } } }, nil)
  end
  t.call_ok("open", { mode = "new" })
  append("lua")
  vim.cmd.Segue("show")
  local report = {}
  for _, language in ipairs({ "lua", "python" }) do
    local line
    t.wait(language, function()
      line = vim.fn.search("^" .. language .. "$", "nw")
      return line > 0
    end)
    table.insert(report, vim.treesitter.highlighter.active[vim.api.nvim_get_current_buf()] ~= nil)
    append("python")
  end
  return { is_used = report }
end

function M.transcript(t)
  if t.args.treesitter then
    start_treesitter()
  end
  t.call_ok("open", { mode = "new" })
  t.call_ok("append", {
    t.user_message("Fix src/parser"),
    { type = "tool_call", data = { id = "1", name = "read", input = { path = "a" } } },
    { type = "tool_result", data = { tool_use_id = "1", content = "# a\n## b\n### c", is_error = false } },
    { type = "text", data = { content = "## Done\n\n```python\ndef f():\n```\n\n```lua\nlocal x\n```" } },
  }, nil)
  local id = segue.current().id
  vim.cmd.Segue("show")
  local function name()
    return vim.fn.expand("%:t")
  end
  t.wait("its title", function()
    return name() == "Fix src∕parser" and vim.fn.search("local x", "nw") > 0
  end)
  local report = { id = id, name = vim.api.nvim_buf_get_name(0), folds = {}, syntax = {} }
  for number = 1, vim.fn.line("$") do
    if vim.fn.foldclosed(number) == number then
      table.insert(report.folds, vim.fn.foldtextresult(number))
    end
  end
  for _, code in ipairs({ "def f", "local x" }) do
    local line = vim.fn.search(code, "w")
    report.syntax[code] = vim.fn.synIDattr(vim.fn.synID(line, 1, 1), "name")
  end
  report.wraps_at_words = { vim.wo.linebreak }
  vim.cmd.Segue("rename The parser")
  t.wait("its new title", function()
    return name() == "The parser"
  end)
  report.buffers = vim.tbl_filter(function(buffer)
    return vim.startswith(vim.api.nvim_buf_get_name(buffer), "segue://")
  end, vim.api.nvim_list_bufs())
  vim.cmd.edit()
  t.wait("it is loaded again", function()
    return vim.fn.search("local x", "nw") > 0
  end)
  vim.cmd.only()
  vim.cmd.enew()
  table.insert(report.wraps_at_words, vim.wo.linebreak)
  vim.cmd.Segue("show " .. id)
  t.wait("it is shown again", function()
    return name() == "The parser"
  end)
  report.windows = #vim.api.nvim_list_wins()
  return report
end

-- What is shown of a session without a title, by a Neovim that has not opened it.
function M.untitled(t)
  local echoed = {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its output
  vim.api.nvim_echo = function(chunks)
    for _, chunk in ipairs(chunks) do
      table.insert(echoed, chunk[1])
    end
  end
  if t.args.begin then
    t.call_ok("append", { type = "text", data = { content = "a text" } }, nil)
    return {}
  end
  vim.cmd.Segue("info")
  t.wait("the information", function()
    return #echoed > 0
  end)
  vim.cmd.Segue("list")
  t.wait("the list", function()
    return table.concat(echoed):find("just now", 1, true)
  end)
  return { shown = table.concat(echoed, "|") }
end

-- A page that cannot be rendered says so.
function M.failing_render(t)
  t.call_ok("open", { mode = "new" })
  t.call_ok("append", { t.user_message("one"), t.user_message("two") }, nil)
  local format = require("segue.format")
  local time, calls = format.time, 0
  format.time = function(iso)
    calls = calls + 1
    assert(calls ~= 1, "a fault\nof two lines")
    return time(iso)
  end
  vim.cmd.Segue("show")
  t.wait("the second event", function()
    return table.concat(t.lines(), "\n"):find("two", 1, true)
  end)
  local partly = table.concat(t.lines(), "\n")
  local set_lines = vim.api.nvim_buf_set_lines
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to fail once
  vim.api.nvim_buf_set_lines = function(buffer, first, last, ...)
    if last == -1 and vim.bo[buffer].filetype == "markdown" and not t.failed then
      t.failed = select(2, ...)[1] ~= "*Loading …*"
      assert(not t.failed, "cannot set lines")
    end
    return set_lines(buffer, first, last, ...)
  end
  vim.cmd.edit()
  t.wait("the error", function()
    return table.concat(t.lines(), "\n"):find("Could not load", 1, true)
  end)
  return { partly = partly, fully = table.concat(t.lines(), "\n") }
end

return M
