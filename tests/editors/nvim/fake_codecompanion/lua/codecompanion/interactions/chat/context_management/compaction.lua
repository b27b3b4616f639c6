local M = {}

local function messages_to_keep(messages)
  local kept = {}
  for _, message in ipairs(messages) do
    local tag = message._meta.tag
    if message.role == "system" or tag == "rules" or message._meta.compacted then
      table.insert(kept, message)
    elseif tag == "file" then
      local copy = vim.deepcopy(message)
      copy.content = "<important>File content cleared during compaction.</important>"
      copy._meta.compacted = true
      table.insert(kept, copy)
    end
  end
  return kept
end

function M.compact(chat)
  local kept = messages_to_keep(chat.messages)
  require("codecompanion.interactions.chat").fire("ChatCompacting", {
    bufnr = chat.bufnr,
    id = chat.id,
  })
  require("codecompanion.interactions.background").new({}):ask({}, {
    on_done = function(result)
      chat.messages = kept
      chat:add_message({
        role = "user",
        content = "Below is a summary of a previous conversation:\n\n" .. result.output.content,
      }, { visible = true, _meta = { tag = "compact_summary" } })
      chat:ready_for_input()
      chat:submit({ auto_submit = true })
    end,
  })
  return true
end

return M
