-- Chats of CodeCompanion with agents (ACP), behind `segue acp` or not.

local segue = require("segue")

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local chats = dofile(vim.fs.joinpath(here, "chat_driver.lua"))

local M = {}

local appended = 0
segue.on("appended", function(_, events)
  appended = appended + #events
end)

-- CodeCompanion drops what comes before its session is there.
local function wait_for_session(t, chat)
  t.wait("the agent has a session", function()
    return chat.acp_connection and chat.acp_connection.session_id
  end)
end

local function wait_for_other_session(t, chat, id)
  t.wait("the agent has another session", function()
    local now = chat.acp_connection and chat.acp_connection.session_id
    return now and now ~= id
  end)
end

local function open_chat(t, codecompanion, adapter)
  local chat = codecompanion.chat({ params = { adapter = adapter } })
  wait_for_session(t, chat)
  return chat
end

local function say(chat, prompt)
  chats.run_turn(chat, function()
    chats.type(chat, prompt)
    chat:submit()
  end)
end

-- The plugin takes over what the proxy has stored.
local function wait_for_events(t, count)
  t.wait(count .. " events", function()
    local session = segue.current()
    return session and session.event_count >= count
  end)
end

local function choose(t, wanted)
  t.choices = {}
  ---@diagnostic disable-next-line: duplicate-set-field -- replaced, to choose without a user
  vim.ui.select = function(items, opts, on_choice)
    local index = type(wanted) == "number" and wanted or 1
    for number, item in ipairs(items) do
      local label = opts.format_item and opts.format_item(item) or item
      table.insert(t.choices, label)
      if type(wanted) == "string" and label:find(wanted, 1, true) then
        index = number
      end
    end
    on_choice(items[index], index)
  end
end

local function messages_of(command)
  return vim.api.nvim_exec2(command, { output = true }).output
end

-- A chat with the first agent, which is behind the proxy, after so many turns.
local function talk(t, codecompanion, turns)
  local chat = open_chat(t, codecompanion, "first")
  for turn = 1, turns do
    say(chat, ({ "the word is plum", "a second turn" })[turn])
    wait_for_events(t, 3 * turn)
  end
  return chat
end

-- Talk with an agent that is behind the proxy by the user's own settings.
function M.talk(t)
  local chat = talk(t, chats.load_plugin(t), 2)
  return {
    id = segue.current().id,
    agent_id = chat.acp_connection.session_id,
    status = segue.status(),
    appended = appended,
    shown = chats.buffer_text(chat),
    noted = vim.tbl_map(function(message)
      return message._meta and message._meta.segue_session
    end, vim.tbl_filter(function(message)
      return message.role ~= "system"
    end, chat.messages)),
  }
end

-- Wrap all agents for this Neovim, twice; then talk.
function M.wrap(t)
  local codecompanion = chats.load_plugin(t)
  local told = messages_of("Segue wrap")
  vim.cmd("silent Segue wrap")
  local chat = talk(t, codecompanion, 1)
  return {
    told = told,
    command = chat.adapter.commands.selected or chat.adapter.commands.default,
    before = require("codecompanion.adapters").resolve("second").commands.default,
    status = segue.status(),
    appended = appended,
  }
end

-- The setting wraps them, the first chat's, too.
function M.wrap_by_setting(t)
  local codecompanion = chats.load_plugin(t)
  segue.setup({ integrations = { codecompanion = { acp = true } } })
  talk(t, codecompanion, 1)
  return { status = segue.status(), appended = appended }
end

function M.not_wrapped(t)
  local codecompanion = chats.load_plugin(t)
  local chat = open_chat(t, codecompanion, "first")
  say(chat, "the word is plum")
  t.wait_until_stored()
  return { command = chat.adapter.commands.default, appended = appended }
end

-- CodeCompanion's own `/resume`, in another Neovim with another agent.
function M.slash_resume(t)
  local codecompanion = chats.load_plugin(t)
  local chat = open_chat(t, codecompanion, "second")
  choose(t, "the word is plum")
  require("codecompanion.interactions.chat.slash_commands.builtin.resume")
    .new({ Chat = chat, config = {}, context = {} })
    :execute()
  t.wait("the conversation is shown", function()
    return chats.buffer_text(chat):find("a second turn", 1, true)
  end)
  wait_for_events(t, 6)
  local restored = chats.buffer_text(chat)
  say(chat, "which word?")
  wait_for_events(t, 7)
  return {
    choices = t.choices,
    restored = restored,
    shown = chats.buffer_text(chat),
    id = segue.current().id,
    appended = appended,
  }
end

local function wait_for_other_chat(t, codecompanion, chat)
  t.wait("another chat", function()
    local other = codecompanion.last_chat()
    return other and other.bufnr ~= chat.bufnr and other.acp_connection
      and other.acp_connection:is_connected()
      and not other.acp_connection._loading_session
      and segue.current()
  end)
  return codecompanion.last_chat()
end

-- Two chats with agents behind the proxy.
function M.two_chats(t)
  local codecompanion = chats.load_plugin(t)
  local first, second = open_chat(t, codecompanion, "first"), open_chat(t, codecompanion, "second")
  say(first, "in the first")
  wait_for_events(t, 3)
  local ids = { segue.current().id }
  say(second, "in the second")
  t.wait("the second is current", function()
    return segue.current().id ~= ids[1]
  end)
  table.insert(ids, segue.current().id)
  return {
    ids = ids,
    agent_ids = { first.acp_connection.session_id, second.acp_connection.session_id },
    is_open = vim.tbl_map(require("segue.integrations.codecompanion").is_open, ids),
  }
end

-- `:Segue fork` at the first turn, and `:Segue rename`, in a chat that the proxy records.
function M.fork(t)
  local codecompanion = chats.load_plugin(t)
  local chat = talk(t, codecompanion, 2)
  local id = segue.current().id
  vim.api.nvim_set_current_win(vim.fn.bufwinid(chat.bufnr))
  vim.cmd.Segue("rename about plums")
  t.wait("the title", function()
    return chat.title == "about plums"
  end)
  assert(vim.fn.search("the word is plum", "w") > 0)
  vim.cmd.Segue("fork in another way")
  local fork = wait_for_other_chat(t, codecompanion, chat)
  local shown = chats.buffer_text(fork)
  say(fork, "which word?")
  t.wait("the fork goes on", function()
    return segue.current().id ~= id and segue.current().event_count > 3
  end)
  return { id = id, fork = segue.current().id, shown = shown, appended = appended }
end

-- An agent that cannot load what a chat shows: it is deleted before the agent has started.
function M.deleted_before_load(t)
  local codecompanion = chats.load_plugin(t)
  local session = t.call_ok("open", { mode = "new" })
  t.call_ok("append", {
    { type = "user_message", data = { content = "the word is plum" } },
    { type = "text", data = { content = "noted" } },
  }, { agent = "first" })
  vim.cmd.Segue("resume " .. session.id)
  t.wait("a chat", function()
    return codecompanion.last_chat()
  end)
  local chat = codecompanion.last_chat()
  t.call("delete", { session_id = session.id })
  wait_for_other_session(t, chat, session.id)
  say(chat, "which word?")
  wait_for_events(t, 3)
  return { id = session.id, shown = chats.buffer_text(chat), now = segue.current().id }
end

-- A chat that is cleared: its agent goes on with what was said.
function M.clear(t)
  local codecompanion = chats.load_plugin(t)
  local chat = talk(t, codecompanion, 1)
  local id = segue.current().id
  if t.args.restored then
    local closed = chat
    chat:close()
    vim.cmd.Segue("resume " .. id)
    chat = wait_for_other_chat(t, codecompanion, closed)
  end
  chat:clear()
  say(chat, "a second turn")
  wait_for_events(t, 6)
  return { id = id, appended = appended }
end

-- A chat that changes from an agent behind the proxy to a model.
function M.change_adapter(t)
  local chat = talk(t, chats.load_plugin(t), 1)
  chat:change_adapter("fake")
  chats.submit(chat, "which word?", { text = "plum" })
  t.wait_until_stored()
  return { id = segue.current().id, appended = appended }
end

-- `:Segue resume`, with an agent that is behind the proxy.
function M.segue_resume(t)
  local codecompanion = chats.load_plugin(t)
  if t.args.default then
    chats.use_by_default(t.args.default)
  else
    open_chat(t, codecompanion, "first")
  end
  choose(t, 1)
  vim.cmd.Segue("resume")
  t.wait("the conversation is shown", function()
    local chat = codecompanion.last_chat()
    return chat and chats.buffer_text(chat):find("a second turn", 1, true)
  end)
  local chat = codecompanion.last_chat()
  t.wait("the agent has loaded it", function()
    local connection = chat.acp_connection
    return connection and connection:is_connected() and not connection._loading_session
  end)
  local restored = chats.buffer_text(chat)
  local before = segue.current().event_count
  say(chat, "which word?")
  wait_for_events(t, before + 3)
  return {
    adapter = chat.adapter.name,
    restored = restored,
    shown = chats.buffer_text(chat),
    id = segue.current().id,
    agent_id = chat.acp_connection.session_id,
    appended = appended,
  }
end

return M
