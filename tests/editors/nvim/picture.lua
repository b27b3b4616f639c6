-- One Neovim in a terminal, for `pictures_terminal.py`. It opens a chat, waits for the offer of the
-- recorded conversation, resumes it, and writes what is on the screen before and after. Its environment:
--   SEGUE_PICTURE_CODECOMPANION, SEGUE_PICTURE_PLENARY  checkouts of these two plugins
--   SEGUE_PICTURE_FRAMES                                the file that gets the two screens, as JSON

local frames = {}

-- Neovim's main loop runs meanwhile: only what it has drawn is on the screen.
local function sleep(ms)
  local running = coroutine.running()
  vim.defer_fn(function()
    coroutine.resume(running)
  end, ms)
  coroutine.yield()
end

local function wait(what, condition)
  for _ = 1, 1000 do
    if condition() then
      return
    end
    sleep(20)
  end
  error("timed out: " .. what)
end

local function color(number)
  return number and ("#%06x"):format(number)
end

-- The cells of the screen: `{ character, foreground, background, bold, italic }` each.
local function screen()
  local normal = vim.api.nvim_get_hl(0, { name = "Normal", link = false })
  local rows = {}
  for row = 0, vim.o.lines - 1 do
    local cells = {}
    for column = 0, vim.o.columns - 1 do
      local character, attributes = unpack(vim.api.nvim__inspect_cell(1, row, column))
      local foreground = color(attributes.foreground or normal.fg)
      local background = color(attributes.background or normal.bg)
      if attributes.reverse then
        foreground, background = background, foreground
      end
      local bold, italic = attributes.bold == true, attributes.italic == true
      table.insert(cells, { character, foreground, background, bold, italic })
    end
    table.insert(rows, cells)
  end
  return rows
end

local function setup()
  -- The first inspection renumbers the attributes, so it precedes what is drawn.
  vim.api.nvim__inspect_cell(1, 0, 0)
  vim.opt.rtp:prepend(vim.env.SEGUE_PICTURE_CODECOMPANION)
  vim.opt.rtp:append(vim.env.SEGUE_PICTURE_PLENARY)
  vim.cmd.runtime("plugin/codecompanion.lua")
  require("codecompanion").setup({
    display = {
      chat = { window = { layout = "buffer" }, intro_message = "Press ? for options" },
    },
    interactions = {
      chat = { adapter = "openai" },
      background = { chat = { opts = { enabled = false } } },
    },
    rules = { opts = { chat = { enabled = false } } },
    opts = { log_level = "OFF" },
  })
  vim.o.showmode = false
  vim.o.ruler = false
  vim.o.laststatus = 2
  vim.o.statusline = " %t%=%{v:lua.require'segue'.status()} "
end

local function chat_lines()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\n")
end

local function offer_is_shown()
  local namespace = vim.api.nvim_get_namespaces().segue_offer
  return namespace ~= nil and #vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, {}) > 0
end

local function run()
  setup()
  vim.cmd.CodeCompanionChat()
  wait("the offer", offer_is_shown)
  sleep(500)
  table.insert(frames, screen())

  vim.ui.select = function(items, _, on_choice)
    on_choice(items[1], 1)
  end
  vim.cmd.Segue("resume")
  wait("the restored chat", function()
    return chat_lines():find("lexer", 1, true) ~= nil
  end)
  sleep(500)
  table.insert(frames, screen())
end

local main = coroutine.create(function()
  sleep(500)
  local ok, problem = pcall(run)
  local report = ok and { frames = frames } or { problem = problem }
  vim.fn.writefile({ vim.json.encode(report) }, vim.env.SEGUE_PICTURE_FRAMES)
  vim.cmd("qa!")
end)
coroutine.resume(main)
