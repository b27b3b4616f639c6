if vim.g.loaded_segue then
  return
end
vim.g.loaded_segue = true

vim.api.nvim_create_user_command("Segue", function(command)
  require("segue.commands").run(command)
end, {
  nargs = "*",
  bang = true,
  range = true,
  desc = "Store AI conversations and resume them",
  complete = function(lead, line)
    return require("segue.commands").complete(lead, line)
  end,
})

for _, name in ipairs({
  "resume",
  "new",
  "list",
  "search",
  "show",
  "fork",
  "rewind",
  "undo",
  "relocate",
  "rename",
  "export",
  "archive",
  "delete",
  "info",
  "wrap",
  "log",
}) do
  vim.keymap.set("n", ("<Plug>(segue-%s)"):format(name), function()
    vim.cmd.Segue(name)
  end, { desc = "Segue: " .. name })
end
vim.keymap.set("n", "<Plug>(segue-open)", "<Cmd>Segue<CR>", { desc = "Segue: open the list" })
vim.keymap.set("x", "<Plug>(segue-append)", ":Segue append user_message<CR>", {
  desc = "Segue: append the selection as a user message",
  silent = true,
})

local group = vim.api.nvim_create_augroup("segue", { clear = true })
vim.api.nvim_create_autocmd("BufReadCmd", {
  group = group,
  pattern = "segue://*",
  desc = "Segue: show a conversation",
  callback = function(args)
    require("segue.transcript").read(args.buf)
  end,
})
vim.api.nvim_create_autocmd("BufReadCmd", {
  group = group,
  pattern = "segue-list://*",
  desc = "Segue: list conversations",
  callback = function(args)
    require("segue.session_list").read(args.buf)
  end,
})
vim.api.nvim_create_autocmd("User", {
  group = group,
  pattern = "CodeCompanionChatCreated",
  desc = "Segue: record a CodeCompanion chat",
  callback = function(args)
    if require("segue.config").get().integrations.codecompanion ~= false then
      require("segue.integrations.codecompanion").attach(args.data.bufnr)
    end
  end,
})

vim.api.nvim_create_autocmd("FileType", {
  group = group,
  pattern = "AgenticChat",
  desc = "Segue: record the chats of agentic.nvim",
  callback = function()
    require("segue.integrations.agentic").attach()
  end,
})

vim.api.nvim_create_autocmd("FileType", {
  group = group,
  pattern = "copilot-chat",
  desc = "Segue: record the chat of CopilotChat.nvim",
  callback = vim.schedule_wrap(function() -- it is not set up yet
    require("segue.integrations.copilot_chat").attach()
  end),
})

vim.api.nvim_create_autocmd("User", {
  group = group,
  pattern = { "AvanteInputSubmitted", "AvanteViewBufferUpdated" },
  desc = "Segue: store the conversation of avante.nvim",
  callback = function()
    require("segue.integrations.avante").on_change()
  end,
})

-- Not as long as Neovim starts.
local function watch()
  if type(vim.g.segue) == "table" and vim.g.segue.watch == true then
    require("segue.watch").update()
  end
end
if vim.v.vim_did_enter == 1 then
  vim.defer_fn(watch, 1000)
else
  vim.api.nvim_create_autocmd("VimEnter", {
    group = group,
    desc = "Segue: import the conversations of other programs",
    callback = function()
      vim.defer_fn(watch, 1000)
    end,
  })
end

-- CodeCompanion was loaded first: chats may be open already.
if package.loaded["codecompanion"] then
  vim.schedule(function()
    if require("segue.config").get().integrations.codecompanion ~= false then
      require("segue.integrations.codecompanion").attach_existing()
    end
  end)
end
