-- Chats of CodeCompanion, kept and brought back.

local segue = require("segue")

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local chats = dofile(vim.fs.joinpath(here, "chats.lua"))

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

local function look(contents)
  chats.tools.look = function(chat, tool, args)
    chat:add_tool_output(tool, contents(args))
  end
end

local function choose_first(t)
  t.asked = 0
  ---@diagnostic disable-next-line: duplicate-set-field
  vim.ui.select = function(items, _, on_choice)
    t.asked = t.asked + 1
    on_choice(items[1], 1)
  end
end

local function wait_for_text(t, codecompanion, text)
  t.wait("a chat with " .. text, function()
    local chat = codecompanion.last_chat()
    return chat and chat.bufnr and chats.text(chat):find(text, 1, true)
  end)
  return codecompanion.last_chat()
end

-- What the model was sent last, without the system prompt.
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
  local chat = chats.use(t).chat()
  look(function(args)
    return "contents of " .. args.path
  end)
  chats.say(chat, "Look at parser.py", {
    text = "Let me look.",
    calls = {
      chats.call("call_A", "look", '{"path": "parser.py", "deep": {"a": [1, null], "b": {}}}'),
      chats.call("call_B", "look", '{"path": "lexer.py"}'),
    },
  }, { text = "Found it." })
  chats.say(chat, "Thanks", { text = "You are welcome." })
  wait_for_stored(t, 9)
  return { status = segue.status() }
end

function M.output_that_grows(t)
  local chat = chats.use(t).chat()
  look(function()
    return "first part"
  end)
  vim.api.nvim_create_autocmd("User", {
    pattern = "CodeCompanionToolFinished",
    callback = function()
      local call = chats.call("call_A", "look", "{}")
      chat:add_tool_output({ name = "look", function_call = call }, "second part", "")
    end,
  })
  chats.say(chat, "Look", { calls = { chats.call("call_A", "look", "{}") } }, { text = "Done." })
  wait_for_stored(t, 4)
end

function M.equal_messages(t)
  local chat = chats.use(t).chat()
  for _ = 1, 2 do
    chats.say(chat, "Say yes", { text = "yes" })
  end
  wait_for_stored(t, 4)
end

function M.shared_files(t)
  local codecompanion = chats.use(t)
  local abandoned, chat = codecompanion.chat(), codecompanion.chat()
  for _, each in ipairs({ abandoned, chat }) do
    each:add_context({ role = "user", content = "a secret" }, "file", "<file>parser.py</file>")
  end
  abandoned:close()
  t.ok("list", {})
  vim.wait(50)
  local before = appended
  chats.say(chat, "What is in it?", { text = "A parser." })
  wait_for_stored(t, 3)
  return { before = before }
end

function M.clear(t)
  local chat = chats.use(t).chat()
  local resets = 0
  segue.on("reset", function()
    resets = resets + 1
  end)
  chat:clear()
  chats.say(chat, "the first", { text = "one" })
  chat:clear()
  chat:clear()
  chats.say(chat, "the second", { text = "two" })
  wait_for_stored(t, 4)
  vim.wait(20)
  return { resets = resets }
end

function M.compaction(t)
  local chat = chats.use(t).chat()
  chat:add_context({ role = "user", content = "long" }, "file", "<file>parser.py</file>")
  chat.messages[#chat.messages].context.path = "parser.py"
  chats.say(chat, "q1", { text = "a1" })
  chats.say(chat, "q2", { text = "a2" })
  for number = 1, 2 do
    chats.replies = { { text = "after summary " .. number } }
    chats.turn(chat, function()
      chats.compact(chat, "SUMMARY " .. number)
    end)
  end
  chats.say(chat, "q3", { text = "a3" })
  wait_for_stored(t, 11)
  return { left = #chat.messages }
end

function M.restore(t)
  local codecompanion = chats.use(t)
  choose_first(t)
  vim.cmd.Segue("resume")
  local chat = wait_for_text(t, codecompanion, "You are welcome.")
  local shown = chats.text(chat)
  chats.say(chat, "And the lexer?", { text = "It is fine." })
  wait_for_stored(t, 2)
  local seen = {
    shown = shown,
    sent = last_sent(),
    session = segue.current().id,
    cycle = chat.cycle,
    title = chat.title,
    again = chats.text(chat),
  }
  -- What is open is shown, not opened a second time.
  vim.cmd.new()
  vim.cmd.Segue("resume " .. seen.session)
  t.wait("the same chat", function()
    return vim.api.nvim_get_current_buf() == chat.bufnr
  end)
  seen.chats = #codecompanion.buf_get_chat()
  chat:clear()
  chats.say(chat, "afresh", { text = "yes" })
  wait_for_stored(t, 4)
  return seen
end

-- Store events as another editor would, and bring them back in a chat.
local function restored(t, text, events)
  local codecompanion = chats.use(t)
  local session = t.ok("open", { mode = "new" })
  t.ok("append", events, nil)
  require("segue.integrations.codecompanion").restore(session.id)
  return wait_for_text(t, codecompanion, text)
end

local function said(type, content)
  return { type = type, data = { content = content } }
end

function M.restore_unanswered(t)
  local chat = restored(t, "Are you there?", {
    said("user_message", "Hello"),
    said("text", "Hi"),
    said("user_message", "Are you there?"),
  })
  local cycle = chat.cycle
  chats.replies = { { text = "Yes." } }
  chats.turn(chat, function()
    chat:submit()
  end)
  wait_for_stored(t, 5)
  return { sent = last_sent(), cycle = cycle }
end

function M.restore_interrupted(t)
  local chat = restored(t, "interrupted", {
    said("user_message", "Look"),
    { type = "tool_call", data = { id = "c", name = "look", input = { path = "x" } } },
    { type = "tool_result", data = {
      tool_use_id = "c",
      content = ("y"):rep(20000),
      is_error = true,
    } },
  })
  chats.say(chat, "Well?", { text = "Sorry." })
  return { sent = last_sent() }
end

function M.restore_open_fence(t)
  local chat = restored(t, "never closed", {
    said("user_message", "Show me"),
    said("text", "````lua\n```\nprint('never closed')"),
  })
  chats.say(chat, "Go on", { text = "x" })
  return { sent = last_sent() }
end

function M.restore_long(t)
  local events = {}
  for number = 1, 250 do
    table.insert(events, said("user_message", ("question %03d"):format(number)))
    table.insert(events, said("text", ("answer %03d "):format(number) .. ("x"):rep(2000)))
  end
  local chat = restored(t, "answer 250", events)
  local text = chats.text(chat)
  return { first = text:match("answer (%d+)"), answers = select(2, text:gsub("answer %d+", "")) }
end

function M.restore_all_pages(t)
  local events = {}
  for number = 1, 450 do
    table.insert(events, said("text", ("answer %03d"):format(number)))
  end
  local text = chats.text(restored(t, "answer 450", events))
  local order = {}
  for number in text:gmatch("answer (%d+)") do
    table.insert(order, tonumber(number))
  end
  return { order = order }
end

function M.agent(t)
  chats.use(t)
  require("codecompanion.interactions.chat").adapter_type = "acp"
  local chat = restored(t, "Hi", {
    said("user_message", "Hello"),
    { type = "tool_call", data = { id = "c", name = "look", input = { path = "x" } } },
    said("text", "Hi"),
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
  local codecompanion = chats.use(t)
  local first, second = codecompanion.chat(), codecompanion.chat()
  chats.say(first, "in the first", { text = "one" })
  chats.say(second, "in the second", { text = "two" })
  chats.say(first, "in the first again", { text = "three" })
  wait_for_stored(t, 6)
  t.wait("the first is current", function()
    return segue.current().title == "in the first"
  end)
  chats.say(second, "in the second again", { text = "four" })
  t.wait("the second is current", function()
    return segue.current().title == "in the second"
  end)
  wait_for_stored(t, 8)
end

function M.fork(t)
  local codecompanion = chats.use(t)
  local chat = codecompanion.chat()
  chats.say(chat, "one", { text = "1" })
  local fork = require("codecompanion.interactions.chat.slash_commands.builtin.fork")
  fork.new({ Chat = chat }):output("forked")
  chats.say(codecompanion.last_chat(), "in the fork", { text = "2" })
  chats.say(chat, "in the first", { text = "3" })
  wait_for_stored(t, 8)
end

function M.talk(t)
  local chat = chats.use(t).chat()
  chats.say(chat, "Fix the parser", { text = "It is fixed." })
  wait_for_stored(t, 2)
end

local function wait_for_offer(t, chat)
  t.wait("an offer", function()
    return chats.offer(chat) ~= ""
  end)
  return chats.offer(chat)
end

function M.offer(t)
  local codecompanion = chats.use(t)
  local hidden = codecompanion.chat({ hidden = true })
  local chat = codecompanion.chat()
  local seen = { offer = wait_for_offer(t, chat), hidden = chats.offer(hidden) }
  seen.text = chats.text(chat)
  vim.api.nvim_set_current_win(vim.fn.bufwinid(chat.bufnr))
  chat:add_context({ role = "user", content = "x" }, "file", "<file>parser.py</file>")
  vim.wait(50)
  seen.before_typing = chats.offer(chat)
  vim.api.nvim_feedkeys(vim.keycode("GAh<Esc>"), "tx", false)
  vim.wait(50)
  seen.after_typing = chats.offer(chat)
  local second = codecompanion.chat()
  vim.wait(300)
  seen.second = chats.offer(second)
  return seen
end

function M.offer_is_gone_when_typing_was_first(t)
  local chat = chats.use(t).chat()
  chats.write(chat, "already typing")
  t.ok("list", {})
  vim.wait(50)
  return { offer = chats.offer(chat) }
end

function M.offer_nothing(t)
  local codecompanion = chats.use(t)
  local chat = codecompanion.chat()
  chats.say(chat, "Hello", { text = "Hi" })
  wait_for_stored(t, 2)
  -- What another chat goes on with is not offered.
  local second = codecompanion.chat()
  t.ok("list", {})
  vim.wait(50)
  return { offers = { chats.offer(chat), chats.offer(second) } }
end

function M.offer_accepted(t)
  local codecompanion = chats.use(t)
  choose_first(t)
  local untouched = codecompanion.chat()
  wait_for_offer(t, untouched)
  vim.cmd.Segue("resume")
  local chat = wait_for_text(t, codecompanion, "It is fixed.")
  chats.say(chat, "And now?", { text = "Now it works." })
  wait_for_stored(t, 2)
  return { chats = #codecompanion.buf_get_chat(), offer = chats.offer(chat), asked = t.asked }
end

function M.offer_is_off(t)
  vim.g.segue = { cmd = t.given.cmd, integrations = { codecompanion = { offer = false } } }
  local chat = chats.use(t).chat()
  t.ok("list", {})
  vim.wait(50)
  local offer = chats.offer(chat)
  chats.say(chat, "Hello", { text = "Hi" })
  wait_for_stored(t, 2)
  return { offer = offer }
end

function M.off(t)
  vim.g.segue = { cmd = t.given.cmd, integrations = { codecompanion = false } }
  local chat = chats.use(t).chat()
  chats.say(chat, "Hello", { text = "Hi" })
  vim.wait(50)
  return { loaded = package.loaded["segue.integrations.codecompanion"] ~= nil }
end

function M.off_for_a_while(t)
  local chat = chats.use(t).chat()
  chats.say(chat, "before", { text = "one" })
  vim.g.segue = { cmd = t.given.cmd, integrations = { codecompanion = false } }
  chats.say(chat, "in private", { text = "two" })
  vim.g.segue = { cmd = t.given.cmd, integrations = { codecompanion = true } }
  chats.say(chat, "after", { text = "three" })
  wait_for_stored(t, 4)
end

function M.killed(t)
  local chat = chats.use(t).chat()
  chats.say(chat, "one", { text = "1" })
  wait_for_stored(t, 2)
  t.kill_server()
  chats.say(chat, "two", { text = "2" })
  vim.uv.kill(t.server_pid(), "sigkill")
  chats.say(chat, "three", { text = "3" })
  wait_for_stored(t, 6)
end

function M.killed_while_opening(t)
  local chat = chats.use(t).chat()
  local pid = t.server_pid()
  vim.uv.kill(pid, "sigstop")
  chats.say(chat, "one", { text = "1" })
  chat:clear()
  chats.say(chat, "two", { text = "2" })
  vim.uv.kill(pid, "sigkill")
  t.wait("the server is gone", function()
    return require("segue.server").info().pid ~= pid
  end)
  wait_for_stored(t, 4)
end

function M.fault(t)
  local converter = require("segue.integrations.codecompanion.converter")
  local resume_offer = require("segue.integrations.codecompanion.resume_offer")
  local to_events, remove = converter.to_events, resume_offer.remove
  converter.to_events = function(message, calls)
    assert(message.content ~= "1", "a fault of ours")
    return to_events(message, calls)
  end
  resume_offer.remove = function()
    error("another fault of ours")
  end
  local chat = chats.use(t).chat()
  chats.say(chat, "one", { text = "1" })
  chats.say(chat, "two", { text = "2" })
  local text = chats.text(chat)
  converter.to_events, resume_offer.remove = to_events, remove
  chats.say(chat, "three", { text = "3" })
  wait_for_stored(t, 5)
  return { text = text }
end

function M.quit_at_once(t)
  -- What ends with Neovim ends in the order in which it was loaded.
  require("segue.registry")
  local chat = chats.use(t).chat()
  chats.say(chat, "my last words", { text = "So be it." })
end

function M.wiped_out(t)
  local codecompanion = chats.use(t)
  local chat = codecompanion.chat()
  chats.say(chat, "one", { text = "1" })
  chat:add_message({ role = "llm", content = "said just before the end" })
  vim.cmd.bwipeout({ args = { tostring(chat.bufnr) }, bang = true })
  wait_for_stored(t, 3)
end

function M.segue_comes_later(t)
  vim.api.nvim_del_augroup_by_name("segue")
  vim.g.loaded_segue = nil
  local codecompanion = chats.use(t)
  local chat = codecompanion.chat()
  chats.say(chat, "before", { text = "one" })
  vim.cmd.runtime("plugin/segue.lua")
  vim.wait(20)
  chats.say(chat, "after", { text = "two" })
  wait_for_stored(t, 4)
end

function M.odd_calls(t)
  local converter = require("segue.integrations.codecompanion.converter")
  local function events(messages)
    local calls, all = {}, {}
    for _, message in ipairs(messages) do
      vim.list_extend(all, converter.to_events(message, calls))
    end
    return all
  end
  local function called(call)
    return { role = "llm", tools = { calls = { call } }, opts = { visible = false } }
  end
  return {
    no_arguments = events({ called(chats.call("a", "f", "")) }),
    no_json = events({ called(chats.call("a", "f", "{oops")) }),
    infinite = events({ called(chats.call("a", "f", '{"x": 1e999}')) }),
    -- Ollama: arguments are a table, and neither call nor result has an id.
    ollama = events({
      called({ ["function"] = { name = "f", arguments = { x = 1 } } }),
      { role = "tool", tool_name = "f", content = "r" },
    }),
    -- OpenAI's Responses: results name the other of the two ids.
    responses = events({
      called({ id = "fc_1", call_id = "call_1", ["function"] = { name = "f", arguments = "{}" } }),
      { role = "tool", tools = { call_id = "call_1" }, content = "r" },
    }),
  }
end

return M
