local SlashCommand = {}

function SlashCommand.new(args)
  return setmetatable({ Chat = args.Chat }, { __index = SlashCommand })
end

function SlashCommand:output(title)
  local messages = vim.deepcopy(self.Chat.messages)
  table.insert(messages, { role = "user", content = "" })
  require("codecompanion.interactions.chat").new({ messages = messages, title = title })
end

return SlashCommand
