-- Shows a conversation that the agent has, as the real plugin does.

local M = {}
M.__index = M

function M.new(args)
  return setmetatable({ Chat = args.Chat }, M)
end

local function show(chat, updates)
  chat:clear()
  local headers = { user_message_chunk = "## Me", agent_message_chunk = "## CodeCompanion (fake)" }
  for _, update in ipairs(updates) do
    local header = headers[update.sessionUpdate]
    if header then
      chat:add_lines("\n" .. header .. "\n\n" .. update.content.text)
    end
  end
  chat:ready_for_input()
end

function M:execute()
  local chat = self.Chat
  local sessions = chat.acp_connection:session_list()
  local titles = vim.tbl_map(function(session)
    return session.title or session.sessionId
  end, sessions)
  vim.ui.select(titles, { prompt = "Resume Session" }, function(_, index)
    local updates = {}
    local id = sessions[index].sessionId
    chat.acp_connection:load_session(id, {
      on_session_update = function(update)
        table.insert(updates, update)
      end,
    })
    show(chat, updates)
    chat.fire("ACPChatRestored", { bufnr = chat.bufnr, id = chat.id, session_id = id })
  end)
end

return M
