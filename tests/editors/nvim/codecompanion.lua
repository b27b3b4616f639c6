-- Recording and restoring chats of CodeCompanion.

local segue = require("segue")

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local chats = dofile(vim.fs.joinpath(here, "chat_driver.lua"))

local M = {}

local appended = 0
segue.on("appended", function(_, events)
  appended = appended + #events
end)

local function wait_for_stored(t, count)
  t.wait(count .. " events", function()
    return appended >= count
  end)
end

local function set_inspect_file(contents)
  chats.tools.inspect_file = function(chat, tool, args)
    chat:add_tool_output(tool, contents(args))
  end
end

local function choose_first(t)
  t.selects = 0
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to choose without a user
  vim.ui.select = function(items, _, on_choice)
    t.selects = t.selects + 1
    on_choice(items[1], 1)
  end
end

local function wait_for_text(t, codecompanion, text)
  t.wait("a chat with " .. text, function()
    local chat = codecompanion.last_chat()
    return chat and chat.bufnr and chats.buffer_text(chat):find(text, 1, true)
  end)
  return codecompanion.last_chat()
end

-- The last request to the model, without the system prompt.
local function last_sent()
  return vim.iter(chats.sent[#chats.sent])
    :filter(function(message)
      return message.role ~= "system"
    end)
    :map(function(message)
      return { message.role == "llm" and "assistant" or message.role, message.content }
    end)
    :totable()
end

function M.tool_round(t)
  local chat = chats.load_plugin(t).chat()
  set_inspect_file(function(args)
    return "contents of " .. args.path
  end)
  chats.submit(chat, "Look at parser.py", {
    text = "Let me look.",
    calls = {
      chats.tool_call(
        "call_A",
        "inspect_file",
        '{"path": "parser.py", "deep": {"a": [1, null], "b": {}}}'
      ),
      chats.tool_call("call_B", "inspect_file", '{"path": "lexer.py"}'),
    },
  }, { text = "Found it." })
  chats.submit(chat, "Thanks", { text = "You are welcome." })
  wait_for_stored(t, 9)
  return { status = segue.status() }
end

local function said(text)
  return { sessionUpdate = "agent_message_chunk", content = { type = "text", text = text } }
end

local function call(fields)
  return vim.tbl_extend("force", { sessionUpdate = "tool_call", title = "Read it" }, fields)
end

local function update(fields)
  return vim.tbl_extend("force", { sessionUpdate = "tool_call_update" }, fields)
end

function M.agent_turn(t)
  local codecompanion = chats.load_plugin(t)
  local text_result = { { type = "content", content = { type = "text", text = "its content" } } }
  local chat = chats.agent_chat(codecompanion, {
    said("Let me "),
    said("look.\n"),
    call({ toolCallId = "1", kind = "read", status = "pending", rawInput = vim.empty_dict() }),
    update({ toolCallId = "1", rawInput = { path = "parser.py" }, status = "in_progress" }),
    update({ toolCallId = "1", status = "in_progress" }),
    update({ toolCallId = "1", status = "completed", content = text_result }),
    said("Now I run it."),
    call({
      toolCallId = "2",
      kind = "execute",
      status = "pending",
      _meta = { claudeCode = { toolName = "Bash" } },
    }),
    update({ toolCallId = "2", status = "failed", rawOutput = { code = 1 } }),
    call({
      toolCallId = "3",
      kind = "edit",
      status = "completed",
      content = { { type = "diff", path = "/x/a.py", oldText = "a\n", newText = "b\n" } },
    }),
    said("Done."),
    call({ toolCallId = "4", kind = "fetch", status = "pending", rawInput = { url = "u" } }),
  })
  chats.run_turn(chat, function()
    chats.type(chat, "Look at parser.py")
    chat:submit()
  end)
  wait_for_stored(t, 11)
  return { status = segue.status() }
end

-- The adapter that the chat of an agent is restored with.
function M.restored_agent(t)
  local codecompanion = chats.load_plugin(t)
  vim.env.SEGUE_TEST_UPDATES = "[]"
  choose_first(t)
  vim.cmd.Segue("resume")
  local chat = wait_for_text(t, codecompanion, "Done.")
  vim.wait(100)
  return { adapter = chat.adapter.name, type = chat.adapter.type, agent = segue.current().agent }
end

-- A chat whose adapter cannot be read.
function M.unreadable_adapter(t)
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "one", { text = "1" })
  chat.adapter.name = { "not a string" }
  chat.settings = setmetatable({}, { __index = error })
  chats.submit(chat, "two", { text = "2" })
  wait_for_stored(t, 4)
end

-- The answer to a question that was asked before the chat was cleared.
function M.late_answer(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  chats.replies = {
    function()
      if t.args.command == "clear" then
        chat:clear()
      else
        vim.cmd.Segue(t.args.command)
      end
      return { text = "the late answer" }
    end,
    { text = "the next answer" },
  }
  chats.run_turn(chat, function()
    chats.type(chat, "the question")
    chat:submit()
  end)
  wait_for_stored(t, 2)
  if t.args.command == "archive" then
    t.wait("no session is open", function()
      return segue.current() == nil
    end)
  end
  chats.run_turn(chat, function()
    chats.type(chat, "the next question")
    chat:submit()
  end)
  wait_for_stored(t, 4)
  return { current = segue.current() and segue.current().id }
end

-- A conversation that was deleted under a live chat: the chat goes on with a new one.
function M.deleted_while_live(t)
  local codecompanion = chats.load_plugin(t)
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to choose without a user
  vim.ui.select = function(items, _, on_choice)
    on_choice(items[2], 2)
  end
  local chat = codecompanion.chat()
  chats.submit(chat, "one", { text = "1" })
  wait_for_stored(t, 2)
  vim.cmd.Segue("delete")
  t.wait("no session is open", function()
    return segue.current() == nil
  end)
  chats.submit(chat, "two", { text = "2" })
  wait_for_stored(t, 4)
  return { current = segue.current() and segue.current().id }
end

function M.growing_tool_output(t)
  local chat = chats.load_plugin(t).chat()
  set_inspect_file(function()
    return "first part"
  end)
  vim.api.nvim_create_autocmd("User", {
    pattern = "CodeCompanionToolFinished",
    callback = function()
      local call = chats.tool_call("call_A", "inspect_file", "{}")
      chat:add_tool_output({ name = "inspect_file", function_call = call }, "second part", "")
    end,
  })
  local call = chats.tool_call("call_A", "inspect_file", "{}")
  chats.submit(chat, "Look", { calls = { call } }, { text = "Done." })
  wait_for_stored(t, 4)
end

function M.equal_messages(t)
  local chat = chats.load_plugin(t).chat()
  for _ = 1, 2 do
    chats.submit(chat, "Say yes", { text = "yes" })
  end
  wait_for_stored(t, 4)
end

-- What a plugin that saves the messages of a chat saves of Segue.
local function noted_sessions(t, chat)
  local said = vim.tbl_filter(function(message)
    return message.role ~= "system" and message.content ~= ""
  end, chat.messages)
  t.wait("the sessions are noted", function()
    return vim.iter(said):all(function(message)
      return message._meta.segue_session
    end)
  end)
  return vim.tbl_map(function(message)
    return { message.content, message._meta.segue_session }
  end, said)
end

function M.sessions_of_messages(t)
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "one", { text = "1" })
  local report = { first = noted_sessions(t, chat) }
  chat:clear()
  chats.submit(chat, "two", { text = "2" })
  report.second = noted_sessions(t, chat)
  return report
end

function M.shared_files(t)
  local codecompanion = chats.load_plugin(t)
  local unused, chat = codecompanion.chat(), codecompanion.chat()
  for _, each in ipairs({ unused, chat }) do
    each:add_context({ role = "user", content = "a secret" }, "file", "<file>parser.py</file>")
  end
  unused:close()
  t.call_ok("list", {})
  vim.wait(50)
  local before = appended
  chats.submit(chat, "What is in it?", { text = "A parser." })
  wait_for_stored(t, 3)
  return { before = before }
end

function M.clear(t)
  local chat = chats.load_plugin(t).chat()
  local resets = 0
  segue.on("reset", function()
    resets = resets + 1
  end)
  chat:clear()
  chats.submit(chat, "the first", { text = "one" })
  chat:clear()
  chat:clear()
  chats.submit(chat, "the second", { text = "two" })
  wait_for_stored(t, 4)
  vim.wait(20)
  return { resets = resets }
end

function M.compaction(t)
  local chat = chats.load_plugin(t).chat()
  chat:add_context({ role = "user", content = "long" }, "file", "<file>parser.py</file>")
  chat.messages[#chat.messages].context.path = "parser.py"
  chats.submit(chat, "q1", { text = "a1" })
  chats.submit(chat, "q2", { text = "a2" })
  for number = 1, 2 do
    chats.replies = { { text = "after summary " .. number } }
    chats.run_turn(chat, function()
      chats.compact(chat, "SUMMARY " .. number)
    end)
  end
  chats.submit(chat, "q3", { text = "a3" })
  wait_for_stored(t, 11)
  return { left = #chat.messages }
end

function M.restore(t)
  local codecompanion = chats.load_plugin(t)
  choose_first(t)
  vim.cmd.Segue("resume")
  local chat = wait_for_text(t, codecompanion, "You are welcome.")
  local shown = chats.buffer_text(chat)
  chats.submit(chat, "And the lexer?", { text = "It is fine." })
  wait_for_stored(t, 2)
  local report = {
    shown = shown,
    sent = last_sent(),
    session = segue.current().id,
    cycle = chat.cycle,
    title = chat.title,
    again = chats.buffer_text(chat),
    noted = noted_sessions(t, chat),
  }
  -- The chat that continues the session is shown; no second one is opened.
  vim.cmd.new()
  vim.cmd.Segue("resume " .. report.session)
  t.wait("the same chat", function()
    return vim.api.nvim_get_current_buf() == chat.bufnr
  end)
  report.chats = #codecompanion.buf_get_chat()
  chat:clear()
  chats.submit(chat, "a new question", { text = "yes" })
  wait_for_stored(t, 4)
  return report
end

-- Store events without a chat, as another editor would, and restore them in a chat.
local function restore_events(t, text, events)
  local codecompanion = chats.load_plugin(t)
  local session = t.call_ok("open", { mode = "new" })
  t.call_ok("append", events, nil)
  require("segue.integrations.codecompanion").restore(session.id)
  return wait_for_text(t, codecompanion, text)
end

local function message(type, content)
  return { type = type, data = { content = content } }
end

function M.restore_unanswered(t)
  local chat = restore_events(t, "Are you there?", {
    message("user_message", "Hello"),
    message("text", "Hi"),
    message("user_message", "Are you there?"),
  })
  local cycle = chat.cycle
  chats.replies = { { text = "Yes." } }
  chats.run_turn(chat, function()
    chat:submit()
  end)
  wait_for_stored(t, 5)
  return { sent = last_sent(), cycle = cycle }
end

function M.restore_interrupted(t)
  local chat = restore_events(t, "interrupted", {
    message("user_message", "Look"),
    { type = "tool_call", data = { id = "c", name = "inspect_file", input = { path = "x" } } },
    { type = "tool_result", data = {
      tool_use_id = "c",
      content = ("y"):rep(20000),
      is_error = true,
    } },
  })
  chats.submit(chat, "Well?", { text = "Sorry." })
  return { sent = last_sent() }
end

function M.restore_pieces(t)
  local function piece(content)
    return { type = "text", data = { content = content, message = "m" } }
  end
  local chat = restore_events(t, "It is here.", {
    message("user_message", "Look"),
    piece("I lo"),
    piece("ok.\n"),
    message("text", "It is here."),
  })
  chats.submit(chat, "Go on", { text = "x" })
  return { sent = last_sent() }
end

function M.restore_open_fence(t)
  local chat = restore_events(t, "never closed", {
    message("user_message", "Show me"),
    message("text", "````lua\n```\nprint('never closed')"),
  })
  chats.submit(chat, "Go on", { text = "x" })
  return { sent = last_sent() }
end

function M.restore_long(t)
  local events = {}
  for number = 1, 250 do
    table.insert(events, message("user_message", ("question %03d"):format(number)))
    table.insert(events, message("text", ("answer %03d "):format(number) .. ("x"):rep(2000)))
  end
  local chat = restore_events(t, "answer 250", events)
  local text = chats.buffer_text(chat)
  return { first = text:match("answer (%d+)"), answers = select(2, text:gsub("answer %d+", "")) }
end

function M.restore_all_pages(t)
  local events = {}
  for number = 1, 450 do
    table.insert(events, message("text", ("answer %03d"):format(number)))
  end
  local text = chats.buffer_text(restore_events(t, "answer 450", events))
  local order = {}
  for number in text:gmatch("answer (%d+)") do
    table.insert(order, tonumber(number))
  end
  return { order = order }
end

function M.restore_for_agent(t)
  chats.load_plugin(t)
  require("codecompanion.interactions.chat").adapter = "scripted"
  local chat = restore_events(t, "Hi", {
    message("user_message", "Hello"),
    { type = "tool_call", data = { id = "c", name = "inspect_file", input = { path = "x" } } },
    message("text", "Hi"),
  })
  local unsent = vim.tbl_filter(function(message)
    return message.role == "user" and not message._meta.sent
  end, chat.messages)
  return {
    unsent = vim.tbl_map(function(message)
      return { message.content, message.opts.visible }
    end, unsent),
  }
end

function M.two_chats(t)
  local codecompanion = chats.load_plugin(t)
  local first, second = codecompanion.chat(), codecompanion.chat()
  chats.submit(first, "in the first", { text = "one" })
  chats.submit(second, "in the second", { text = "two" })
  chats.submit(first, "in the first again", { text = "three" })
  wait_for_stored(t, 6)
  t.wait("the first is current", function()
    return segue.current().title == "in the first"
  end)
  chats.submit(second, "in the second again", { text = "four" })
  t.wait("the second is current", function()
    return segue.current().title == "in the second"
  end)
  wait_for_stored(t, 8)
end

function M.fork(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  chats.submit(chat, "one", { text = "1" })
  local fork = require("codecompanion.interactions.chat.slash_commands.builtin.fork")
  fork.new({ Chat = chat }):output("forked")
  chats.submit(codecompanion.last_chat(), "in the fork", { text = "2" })
  chats.submit(chat, "in the first", { text = "3" })
  wait_for_stored(t, 8)
end

local function wait_for_current(t, is_it)
  t.wait("another current conversation", function()
    local current = segue.current()
    return current and is_it(current.id)
  end)
  return segue.current().id
end

local function put_cursor(chat, pattern)
  vim.api.nvim_set_current_win(vim.fn.bufwinid(chat.bufnr))
  assert(vim.fn.search(pattern, "w") > 0, pattern)
end

local function visible_text(chat)
  return vim.fn.bufwinid(chat.bufnr) ~= -1 and chats.buffer_text(chat)
end

-- Three turns, of which the second looks like several.
local function talk(t, chat)
  chats.submit(chat, "first question", { text = "first answer" })
  chats.submit(chat, "second question\n\nthird question", {
    text = "second answer\n\n## Me\n\nthird question\n\nits end",
  })
  chats.submit(chat, "third question", { text = "third answer" })
  wait_for_stored(t, 6)
  return segue.current().id
end

function M.fork_from_turn(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  local id = talk(t, chat)
  local other = codecompanion.chat()
  chats.submit(other, "something else", { text = "yes" })
  wait_for_stored(t, 8)
  codecompanion.restore(chat.bufnr)
  put_cursor(chat, t.args.at)
  vim.cmd.Segue("fork")
  local fork = wait_for_current(t, function(now)
    return segue.current().forked_from == id
  end)
  local forked = wait_for_text(t, codecompanion, "first answer")
  t.wait("the chat of the fork", function()
    forked = codecompanion.last_chat()
    return forked.bufnr ~= chat.bufnr and visible_text(forked)
  end)
  local shown = chats.buffer_text(forked)
  chats.submit(forked, "in the fork", { text = "4" })
  chats.submit(chat, "in the original", { text = "5" })
  wait_for_stored(t, 12)
  return { id = id, fork = fork, shown = shown, title = forked.title }
end

function M.rewind_and_undo(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  local id = talk(t, chat)
  if t.args.restored then
    chat:close()
    vim.cmd.Segue("resume " .. id)
    chat = wait_for_text(t, codecompanion, "third answer")
  end
  local chats_before = #codecompanion.buf_get_chat()
  for _, pattern in ipairs({ "third answer", [[\%$]] }) do
    put_cursor(chat, pattern)
    vim.cmd.Segue("rewind")
  end
  put_cursor(chat, t.args.at)
  vim.cmd.Segue("rewind")
  local fork = wait_for_current(t, function(now)
    return now ~= id
  end)
  t.wait("the chat that was rewound", function()
    return codecompanion.last_chat() and codecompanion.last_chat().bufnr ~= chat.bufnr
      and visible_text(codecompanion.last_chat())
      and #codecompanion.buf_get_chat() == chats_before
  end)
  local rewound = codecompanion.last_chat()
  local shown = chats.buffer_text(rewound)
  local names = { vim.fs.basename(vim.api.nvim_buf_get_name(rewound.bufnr)) }
  chats.submit(rewound, "another question", { text = "another answer" })
  wait_for_stored(t, 8)
  local sent = last_sent()
  vim.api.nvim_set_current_win(vim.fn.bufwinid(rewound.bufnr))
  vim.cmd.Segue("undo")
  wait_for_current(t, function(now)
    return now == id
  end)
  chat = wait_for_text(t, codecompanion, "third answer")
  local again = chats.buffer_text(chat)
  table.insert(names, vim.fs.basename(vim.api.nvim_buf_get_name(chat.bufnr)))
  chats.submit(chat, "go on", { text = "yes" })
  wait_for_stored(t, 10)
  return {
    id = id,
    fork = fork,
    names = names,
    shown = shown,
    sent = sent,
    again = again,
    chats = { chats_before, #codecompanion.buf_get_chat() },
  }
end

function M.rename_chat(t)
  local codecompanion = chats.load_plugin(t)
  local first, second = codecompanion.chat(), codecompanion.chat()
  chats.submit(first, "one", { text = "1" })
  chats.submit(second, "two", { text = "2" })
  wait_for_stored(t, 4)
  codecompanion.restore(first.bufnr)
  put_cursor(first, "one")
  vim.cmd.Segue("rename The first")
  t.wait("the title", function()
    return first.title == "The first"
  end)
  return { second = second.title }
end

function M.conflict(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  chats.submit(chat, "one", { text = "1" })
  wait_for_stored(t, 2)
  local id = segue.current().id
  t.set_flag("appended")
  t.wait_for_flag("appended elsewhere")
  chats.submit(chat, "two", { text = "2" })
  wait_for_stored(t, 4)
  vim.wait(50)
  return { id = id, now = segue.current().id, title = chat.title }
end

function M.record_with(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat({ params = { adapter = t.args.adapter, model = t.args.model } })
  chats.submit(chat, "Hello", { text = "Hi" })
  wait_for_stored(t, 2)
  local current = segue.current()
  return { agent = current.agent, model = current.model }
end

function M.restored_with(t)
  local codecompanion = chats.load_plugin(t)
  local adapters = require("codecompanion.config").adapters
  if t.args.without == "adapter" then
    adapters.http.other = nil
  elseif t.args.without == "model" then
    local resolve = require("codecompanion.adapters").resolve
    require("codecompanion.adapters").resolve = function(...)
      local adapter = resolve(...)
      if adapter.name == "other" then
        adapter.schema.model.choices = { "m" }
      end
      return adapter
    end
  end
  choose_first(t)
  vim.cmd.Segue("resume")
  local chat = wait_for_text(t, codecompanion, "Hi")
  chats.submit(chat, "And?", { text = "So." })
  wait_for_stored(t, 2)
  vim.wait(50)
  local current = segue.current()
  return {
    adapter = chat.adapter.name,
    model = chat.settings and chat.settings.model,
    agent = current.agent,
    recorded_model = current.model,
  }
end

-- The model of an agent (ACP) is given to it when it is connected.
function M.agent_model(t)
  chats.load_plugin(t)
  local adapters = require("segue.integrations.codecompanion.adapters")
  local choice = adapters.choose({ agent = "scripted", model = "large" })
  local chat = { adapter = require("codecompanion.adapters").resolve("scripted") }
  local notice = adapters.complete(chat, choice)
  return { choice = choice, notice = notice, origin = adapters.origin(chat) }
end

function M.record_one_turn(t)
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "Fix the parser", { text = "It is fixed." })
  wait_for_stored(t, 2)
end

local function wait_for_offer(t, chat)
  t.wait("an offer", function()
    return chats.offer_text(chat) ~= ""
  end)
  return chats.offer_text(chat)
end

function M.offer(t)
  local codecompanion = chats.load_plugin(t)
  local hidden = codecompanion.chat({ hidden = true })
  local chat = codecompanion.chat()
  local report = { offer = wait_for_offer(t, chat), hidden = chats.offer_text(hidden) }
  report.text = chats.buffer_text(chat)
  vim.api.nvim_set_current_win(vim.fn.bufwinid(chat.bufnr))
  chat:add_context({ role = "user", content = "x" }, "file", "<file>parser.py</file>")
  vim.wait(50)
  report.before_typing = chats.offer_text(chat)
  vim.api.nvim_feedkeys(vim.keycode("GAh<Esc>"), "tx", false)
  vim.wait(50)
  report.after_typing = chats.offer_text(chat)
  local second = codecompanion.chat()
  vim.wait(300)
  report.second = chats.offer_text(second)
  return report
end

function M.offer_after_typing(t)
  local chat = chats.load_plugin(t).chat()
  chats.type(chat, "already typing")
  t.call_ok("list", {})
  vim.wait(50)
  return { offer = chats.offer_text(chat) }
end

function M.offer_without_candidates(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  chats.submit(chat, "Hello", { text = "Hi" })
  wait_for_stored(t, 2)
  -- A session that a chat continues is not offered.
  local second = codecompanion.chat()
  t.call_ok("list", {})
  vim.wait(50)
  return { offers = { chats.offer_text(chat), chats.offer_text(second) } }
end

function M.offer_accepted(t)
  local codecompanion = chats.load_plugin(t)
  choose_first(t)
  local empty = codecompanion.chat()
  wait_for_offer(t, empty)
  vim.cmd.Segue("resume")
  local chat = wait_for_text(t, codecompanion, "It is fixed.")
  chats.submit(chat, "And now?", { text = "Now it works." })
  wait_for_stored(t, 2)
  return { chats = #codecompanion.buf_get_chat(), offer = chats.offer_text(chat), selects = t.selects }
end

function M.offer_disabled(t)
  vim.g.segue = { cmd = t.args.cmd, integrations = { codecompanion = { offer = false } } }
  local chat = chats.load_plugin(t).chat()
  t.call_ok("list", {})
  vim.wait(50)
  local offer = chats.offer_text(chat)
  chats.submit(chat, "Hello", { text = "Hi" })
  wait_for_stored(t, 2)
  return { offer = offer }
end

function M.disabled(t)
  vim.g.segue = { cmd = t.args.cmd, integrations = { codecompanion = false } }
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "Hello", { text = "Hi" })
  vim.wait(50)
  return { loaded = package.loaded["segue.integrations.codecompanion"] ~= nil }
end

function M.disabled_temporarily(t)
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "before", { text = "one" })
  vim.g.segue = { cmd = t.args.cmd, integrations = { codecompanion = false } }
  chats.submit(chat, "in private", { text = "two" })
  vim.g.segue = { cmd = t.args.cmd, integrations = { codecompanion = true } }
  chats.submit(chat, "after", { text = "three" })
  wait_for_stored(t, 4)
end

function M.server_killed(t)
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "one", { text = "1" })
  wait_for_stored(t, 2)
  t.kill_server()
  chats.submit(chat, "two", { text = "2" })
  vim.uv.kill(t.server_pid(), "sigkill")
  chats.submit(chat, "three", { text = "3" })
  wait_for_stored(t, 6)
end

function M.server_killed_while_opening(t)
  local chat = chats.load_plugin(t).chat()
  local pid = t.server_pid()
  vim.uv.kill(pid, "sigstop")
  chats.submit(chat, "one", { text = "1" })
  chat:clear()
  chats.submit(chat, "two", { text = "2" })
  vim.uv.kill(pid, "sigkill")
  t.wait("the server has exited", function()
    return require("segue.server").info().pid ~= pid
  end)
  wait_for_stored(t, 4)
end

function M.integration_errors(t)
  local converter = require("segue.integrations.codecompanion.converter")
  local resume_offer = require("segue.integrations.codecompanion.resume_offer")
  local to_events, remove = converter.to_events, resume_offer.remove
  converter.to_events = function(message, calls)
    assert(message.content ~= "1", "first internal error")
    return to_events(message, calls)
  end
  resume_offer.remove = function()
    error("second internal error")
  end
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "one", { text = "1" })
  chats.submit(chat, "two", { text = "2" })
  local text = chats.buffer_text(chat)
  converter.to_events, resume_offer.remove = to_events, remove
  chats.submit(chat, "three", { text = "3" })
  wait_for_stored(t, 5)
  return { text = text }
end

function M.exit_after_first_answer(t)
  -- Exit handlers run in the order in which their modules were loaded: load this one first.
  require("segue.registry")
  local chat = chats.load_plugin(t).chat()
  chats.submit(chat, "my last words", { text = "So be it." })
end

function M.buffer_wiped_out(t)
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  chats.submit(chat, "one", { text = "1" })
  chat:add_message({ role = "llm", content = "added before the wipeout" })
  vim.cmd.bwipeout({ args = { tostring(chat.bufnr) }, bang = true })
  wait_for_stored(t, 3)
end

function M.plugin_loaded_later(t)
  vim.api.nvim_del_augroup_by_name("segue")
  vim.g.loaded_segue = nil
  local codecompanion = chats.load_plugin(t)
  local chat = codecompanion.chat()
  chats.submit(chat, "before", { text = "one" })
  vim.cmd.runtime("plugin/segue.lua")
  vim.wait(20)
  chats.submit(chat, "after", { text = "two" })
  wait_for_stored(t, 4)
end

function M.adapter_call_formats(t)
  local converter = require("segue.integrations.codecompanion.converter")
  local function events(messages)
    local calls, all = {}, {}
    for _, message in ipairs(messages) do
      vim.list_extend(all, converter.to_events(message, calls))
    end
    return all
  end
  local function with_call(call)
    return { role = "llm", tools = { calls = { call } }, opts = { visible = false } }
  end
  return {
    no_arguments = events({ with_call(chats.tool_call("a", "f", "")) }),
    no_json = events({ with_call(chats.tool_call("a", "f", "{oops")) }),
    infinite = events({ with_call(chats.tool_call("a", "f", '{"x": 1e999}')) }),
    -- Ollama: arguments are a table, and neither call nor result has an id.
    ollama = events({
      with_call({ ["function"] = { name = "f", arguments = { x = 1 } } }),
      { role = "tool", tool_name = "f", content = "r" },
    }),
    -- OpenAI's Responses: results name the other of the two ids.
    responses = events({
      with_call({ id = "fc_1", call_id = "call_1", ["function"] = { name = "f", arguments = "{}" } }),
      { role = "tool", tools = { call_id = "call_1" }, content = "r" },
    }),
  }
end

-- An answer that is streamed for longer than a piece waits. With `hangs`, it does not end.
function M.streamed_answer(t)
  local chat = chats.load_plugin(t).chat()
  local reply = { chunks = t.args.chunks, pause_ms = t.args.pause_ms, hangs = t.args.hangs }
  if not t.args.hangs then
    chats.submit(chat, "the question", reply)
    t.wait_until_stored()
    return { text = chats.buffer_text(chat) }
  end
  chats.replies = { reply }
  chats.type(chat, "the question")
  chat:submit()
  t.wait("a piece is stored", function()
    local current = require("segue").current()
    return current and current.event_count > 1
  end)
  if t.args.quits then
    return {}
  end
  t.set_flag("in mid-answer")
  t.wait("the end", function() end)
end

-- What an agent says, in pieces, before a tool call and at the end.
function M.agent_pieces(t)
  local told, handlers = {}, {}
  local turn = require("segue.integrations.agent_turn").follow(handlers, function(events)
    vim.list_extend(told, events)
  end)
  local function wait_for(count)
    t.wait(count .. " events", function()
      return #told >= count
    end)
  end
  handlers.message_chunk("I look\nat ")
  wait_for(1)
  handlers.message_chunk("it.")
  handlers.tool_call({ toolCallId = "1", kind = "read", status = "completed", rawInput = {} })
  handlers.message_chunk("It has\n-----BEGIN KEY\nsecret\n")
  wait_for(5)
  handlers.message_chunk("-----END KEY\nand no more.")
  local whole = "I look\nat it.It has\n-----BEGIN KEY\nsecret\n-----END KEY\nand no more."
  vim.list_extend(told, turn:rest_of({ role = "llm", content = whole }) or {})
  return { told = told }
end

return M
