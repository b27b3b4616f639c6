-- Conversations that were imported: how they are listed, and where they go on.

local segue = require("segue")

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local chats = dofile(vim.fs.joinpath(here, "chat_driver.lua"))

local M = {}

-- Replace vim.ui.select: choose these items, by number, and record each call.
local function choose(t, ...)
  local numbers = { ... }
  t.selects = {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to choose without a user
  vim.ui.select = function(items, opts, on_choice)
    local labels = vim.tbl_map(opts.format_item or tostring, items)
    table.insert(t.selects, { prompt = opts.prompt, kind = opts.kind, items = labels })
    local number = table.remove(numbers, 1)
    on_choice(number and items[number], number)
  end
end

local function wait_for_run(t)
  t.wait("the program runs", function()
    return vim.uv.fs_stat(t.args.run) ~= nil
  end)
  return vim.fn.readfile(t.args.run)
end

local function wait_for_selects(t, count)
  t.wait("the question", function()
    return #t.selects == count
  end)
end

function M.listed(t)
  local echoed = {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its output
  vim.api.nvim_echo = function(chunks)
    for _, chunk in ipairs(chunks) do
      table.insert(echoed, chunk[1])
    end
  end
  choose(t)
  vim.cmd.Segue("list")
  vim.cmd.Segue("resume")
  wait_for_selects(t, 1)
  vim.cmd.Segue("show " .. t.args.id)
  t.wait("the transcript", function()
    return t.lines()[1]:find("with ", 1, true)
  end)
  local opened = t.call_ok("open", { session_id = t.args.id })
  t.call_ok("append", t.user_message("more"), { agent = "openai", model = "gpt-5" })
  local page = t.call_ok("list", {})
  return {
    list = table.concat(echoed),
    picker = t.selects[1].items,
    header = t.lines()[1],
    opened = opened.source,
    origin = require("segue.format").origin(page.sessions[1]),
  }
end

-- What is said around a list that is not complete.
function M.long_list(t)
  local last
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to record its output
  vim.api.nvim_echo = function(chunks)
    last = chunks[#chunks][1]
  end
  choose(t)
  vim.cmd.Segue("list")
  vim.cmd.Segue("resume")
  wait_for_selects(t, 1)
  return { last = last, prompt = t.selects[1].prompt, count = #t.selects[1].items }
end

-- Without a chat plugin.
function M.run(t)
  choose(t, 1)
  vim.cmd("vertical Segue resume")
  local argv = wait_for_run(t)
  local buffer = vim.api.nvim_get_current_buf()
  local report = {
    argv = argv,
    selects = t.selects,
    buftype = vim.bo.buftype,
    layout = vim.fn.winlayout()[1],
    workspace = vim.b.segue_workspace,
    current = segue.current(),
  }
  vim.cmd.stopinsert()
  vim.fn.delete(t.args.run)
  vim.cmd.wincmd("p")
  vim.cmd.Segue("resume " .. t.args.id)
  t.wait("the terminal again", function()
    return vim.api.nvim_get_current_buf() == buffer
  end)
  report.windows = #vim.api.nvim_list_wins()
  vim.cmd.close()
  vim.cmd.Segue("resume " .. t.args.id)
  t.wait("the terminal in a window", function()
    return vim.api.nvim_get_current_buf() == buffer
  end)
  report.ran_again = vim.uv.fs_stat(t.args.run) ~= nil
  vim.fn.jobstop(vim.b[buffer].terminal_job_id)
  vim.fn.jobwait({ vim.b[buffer].terminal_job_id }, 5000)
  vim.cmd.Segue("resume " .. t.args.id)
  wait_for_run(t)
  report.is_new = vim.api.nvim_get_current_buf() ~= buffer
  return report
end

-- The program cannot be started.
function M.blocked(t)
  vim.cmd.Segue("resume " .. t.args.id)
  t.wait("the transcript", function()
    return table.concat(t.lines(), "\n"):find("Fix the test", 1, true)
  end)
  t.wait("a notice", function()
    return #t.notices > 0
  end)
  return { register = vim.fn.getreg('"'), name = vim.api.nvim_buf_get_name(0) }
end

function M.chat_or_program(t)
  local codecompanion = chats.load_plugin(t)
  choose(t, 1, 1, 2)
  vim.cmd.Segue("resume")
  t.wait("a chat", function()
    local chat = codecompanion.last_chat()
    return chat and chat.bufnr and chats.buffer_text(chat):find("Fix the test", 1, true)
  end)
  local chat = codecompanion.last_chat()
  vim.cmd.new()
  vim.cmd.Segue("resume " .. t.args.id)
  t.wait("the chat that goes on with it", function()
    return vim.api.nvim_get_current_buf() == chat.bufnr
  end)
  local asked = #t.selects
  chat:close()
  local fork = t.call_ok("fork", { session_id = t.args.id })
  t.call_ok("append", t.user_message("only here"), { session_id = fork.id })
  choose(t, t.args.choice)
  t.call_ok("list", {})
  vim.cmd.Segue("resume " .. t.args.id)
  wait_for_selects(t, 1)
  local report = { asked = asked, select = t.selects[1] }
  if t.args.choice == 2 and t.args.run then
    report.argv = wait_for_run(t)
  end
  report.register = vim.fn.getreg('"')
  vim.wait(50)
  return report
end

-- After it went on in an editor.
function M.went_on_here(t)
  t.call_ok("open", { session_id = t.args.id })
  t.call_ok("append", t.user_message("only here"), nil)
  choose(t, 1)
  vim.cmd.Segue("resume")
  wait_for_run(t)
  local session = t.call_ok("list", {}).sessions[1]
  vim.fn.jobstop(vim.b.terminal_job_id)
  vim.fn.jobwait({ vim.b.terminal_job_id }, 5000)
  chats.load_plugin(t)
  choose(t)
  vim.cmd.Segue("resume " .. t.args.id)
  wait_for_selects(t, 1)
  return { client = session.client, items = t.selects[1].items }
end

-- Of a server that does not know the request, and of a conversation that was not imported.
function M.as_before(t)
  if t.args.old_server then
    local server = require("segue.server")
    local request = server.request
    ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to ask an older server
    server.request = function(method, params, callback)
      method = method == "session/resumeCommand" and "session/notYetKnown" or method
      return request(method, params, callback)
    end
  end
  choose(t)
  local id = t.args.id
  if not id then
    id = t.call_ok("open", { mode = "new" }).id
    t.call_ok("append", t.user_message("Fix the test"), nil)
  end
  vim.cmd.Segue("resume " .. id)
  t.wait("the transcript", function()
    return table.concat(t.lines(), "\n"):find("Fix the test", 1, true)
  end)
  return { selects = t.selects, name = vim.api.nvim_buf_get_name(0), id = id }
end

return M
