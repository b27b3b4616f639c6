-- A fake of codecompanion.nvim 19: the functions, events and messages that other plugins use.

local Chat = require("codecompanion.interactions.chat")

local M = {}

function M.chat(args)
  args = args or {}
  local messages = args.messages or {}
  local has_messages = #messages > 0
  local auto_submit = has_messages
  if args.auto_submit ~= nil then
    auto_submit = args.auto_submit
  end
  local adapter
  if args.params and args.params.adapter then
    adapter = require("codecompanion.adapters").resolve(args.params.adapter)
    if args.params.model then
      adapter.schema.model.default = args.params.model
    end
  end
  return Chat.new({
    adapter = adapter,
    auto_submit = auto_submit,
    buffer_context = args.context or { bufnr = vim.api.nvim_get_current_buf() },
    callbacks = args.callbacks,
    hidden = args.hidden,
    messages = has_messages and messages or nil,
  })
end

function M.buf_get_chat(bufnr)
  return Chat.buf_get_chat(bufnr)
end

function M.last_chat()
  return Chat.last_chat()
end

function M.restore(bufnr)
  Chat.buf_get_chat(bufnr).ui:open()
end

return M
