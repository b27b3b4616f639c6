-- `:Segue search`: what is shown while someone types, and what is opened.

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local children = dofile(vim.fs.joinpath(here, "child.lua"))

local M = {}

local COMMANDS = { "set shortmess+=I" }

-- In the child: what its server is asked, and responses that are held back until `release(query)`.
local RECORD_REQUESTS = [[
  asked, held, holding, replaced = {}, {}, {}, {}
  local server = require("segue.server")
  local request = server.request
  server.request = function(method, params, callback)
    if method ~= "session/search" then
      return request(method, params, callback)
    end
    table.insert(asked, params)
    local instead = table.remove(replaced, 1)
    if instead then
      return callback(nil, instead)
    end
    request(method, params, function(err, result)
      if holding[params.query] then
        held[params.query] = function() callback(err, result) end
      else
        callback(err, result)
      end
    end)
  end
]]

local function start(t, columns, picker)
  local commands = vim.list_extend({}, COMMANDS)
  for _, plugin in ipairs(t.args.plugins or {}) do
    table.insert(commands, "set rtp+=" .. plugin)
  end
  local child = children.start(t, commands, columns or 80, 24)
  child.lua(
    [[
      vim.g.segue = { cmd = ..., search_picker = select(2, ...) }
      notices = {}
      vim.notify = function(message) table.insert(notices, message) end
    ]],
    t.args.cmd,
    picker or t.args.picker or "builtin"
  )
  child.lua(RECORD_REQUESTS)
  return child
end

local function new_session(t, events, opts)
  local session = t.call_ok("open", vim.tbl_extend("error", { mode = "new" }, opts or {}))
  for first = 1, #events, 200 do
    local some = vim.list_slice(events, first, first + 199)
    t.call_ok("append", some, { session_id = session.id, agent = "openai", model = "gpt-5" })
  end
  return session.id
end

-- A question, a thought with the word `needleN` on two of its lines, and an answer, each time.
local function turns(t, count)
  local events = {}
  for number = 1, count do
    table.insert(events, t.user_message("question " .. number))
    local thought = ("let me see\nNeedle%03d is here\nNEEDLE%03d"):format(number, number)
    table.insert(events, { type = "thinking", data = { content = thought } })
    table.insert(events, { type = "text", data = { content = "answer " .. number } })
  end
  return events
end

-- Where the cursor is, and what is highlighted there.
local function place(child)
  return child.lua([[
    local cursor = vim.fn.line(".")
    local namespace = vim.api.nvim_get_namespaces().segue_matches
    local marks = namespace
      and vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })
    local matches = vim.tbl_map(function(mark)
      return vim.fn.getline(mark[2] + 1):sub(mark[3] + 1, mark[4].end_col)
    end, marks or {})
    return {
      name = vim.api.nvim_buf_get_name(0),
      line = vim.fn.getline("."),
      number = cursor,
      top = vim.fn.getline(vim.fn.line("w0")),
      is_folded = vim.fn.foldclosed(cursor) ~= -1,
      matches = matches,
      mode = vim.api.nvim_get_mode().mode,
      floats = #vim.tbl_filter(function(window)
        return vim.api.nvim_win_get_config(window).relative ~= ""
      end, vim.api.nvim_list_wins()),
    }
  ]])
end

local function wait_for_transcript(t, child, id, shown)
  t.wait("the transcript", function()
    return vim.startswith(place(child).name, "segue://" .. id)
  end)
  child.wait_for(shown)
  return place(child)
end

function M.typing(t)
  new_session(t, { t.user_message("Why does the lexer stop?"), t.user_message("Because of flush") })
  local child = start(t)
  child.type(":Segue search<CR>")
  local report = { hint = child.wait_for("Type words") }
  child.type("le")
  vim.wait(30)
  child.type("xer")
  report.found = child.wait_for("You: Why does the lexer")
  report.asked = child.lua("return asked")
  child.type("<C-u>flush<C-n>")
  child.wait_for("Because of flush")
  child.type("<C-u>")
  report.emptied = child.wait_for("Type words")
  child.type("<Esc>")
  child.wait_for("[No Name]")
  report.after = place(child)
  report.notices = child.lua("return notices")
  child.stop()
  return report
end

function M.late(t)
  new_session(t, { t.user_message("the first one"), t.user_message("the second one") })
  local child = start(t)
  child.lua("holding.first = true")
  child.type(":Segue search first<CR>")
  t.wait("the first response", function()
    return child.lua("return held.first ~= nil")
  end)
  child.type("<C-u>second")
  child.wait_for("You: the second one")
  child.lua("held.first()")
  vim.wait(100)
  local screen = child.screen()
  child.stop()
  return { screen = screen }
end

function M.opened(t)
  local id = new_session(t, turns(t, 200))
  local child = start(t)
  child.type(":vertical Segue search needle017<CR>")
  child.wait_for("Needle017 is here")
  child.type("<CR>")
  local report = { id = id, at_event = wait_for_transcript(t, child, id, "Needle017") }
  report.layout = child.lua("return vim.fn.winlayout()[1]")
  t.wait("the rest of the conversation", function()
    return child.lua("return vim.fn.search('^answer 200$', 'nw') > 0")
  end)
  report.later = place(child)
  child.lua("vim.cmd('normal! gg')")
  t.wait("its beginning", function()
    return child.lua("return vim.fn.search('^question 1$', 'nw') > 0")
  end)
  report.turns = child.lua([[
    local lines = vim.api.nvim_buf_get_lines(0, 0, -1, false)
    return vim.tbl_filter(function(line) return line:find("^question ") end, lines)
  ]])
  child.lua("vim.cmd.close()") -- its buffer is hidden, not read again
  child.type(":Segue search needle123<CR>")
  child.wait_for("Needle123 is here")
  child.type("<CR>")
  report.again = wait_for_transcript(t, child, id, "> Needle123")
  child.type(":Segue search needle001<CR>")
  child.wait_for("Needle001 is here")
  child.type("<CR>")
  child.wait_for("> Needle001")
  report.in_window = place(child)
  child.type(":Segue search question<CR>")
  child.wait_for("Title: ")
  child.type("<CR>")
  report.title = wait_for_transcript(t, child, id, "Start of conversation")
  child.stop()
  return report
end

function M.refused(t)
  local child = start(t)
  child.type(":Segue search a<CR>")
  local report = { letter = child.wait_for("The search must have") }
  child.type(("b"):rep(1001))
  report.long = child.wait_for("1,000")
  child.type('<C-u>" "')
  report.empty = child.wait_for("The search has no word")
  child.type("<C-u>gone")
  report.nothing = child.wait_for("Nothing found")
  report.notices = child.lua("return notices")
  child.stop()
  return report
end

function M.more(t)
  new_session(t, turns(t, 60))
  local child = start(t)
  child.type(":Segue search needle<CR>")
  local report = { first = child.wait_for("50 results so far") }
  child.type("<C-p>")
  child.wait_for("Load more")
  child.type("<CR>")
  report.all = child.wait_for("60 results ")
  report.asked = child.lua("return asked")
  child.lua([[
    replaced = { { hits = {}, nextCursor = asked[2].cursor, complete = false, indexed = 0 } }
  ]])
  child.type("<C-u>needle0")
  report.incomplete = child.wait_for("Not everything was searched yet")
  child.type("<CR>")
  report.rest = child.wait_for("results ")
  child.stop()
  return report
end

function M.scope(t)
  new_session(t, { t.user_message("the lexer here") })
  new_session(t, { t.user_message("the lexer there") }, { workspace = t.args.other })
  t.call_ok("archive", { session_id = new_session(t, { t.user_message("the lexer before") }) })
  local child = start(t, 140)
  child.type(":Segue search lexer<CR>")
  local report = { here = child.wait_for("You: the lexer here") }
  child.type("<Esc>:Segue! search lexer<CR>")
  report.everywhere = child.wait_for("You: the lexer there")
  child.stop()
  return report
end

function M.preview(t)
  new_session(t, turns(t, 40))
  local child = start(t, 140)
  child.type(":Segue search needle<CR>")
  local report = { first = child.wait_for("> Needle040 is here") }
  child.type("<Down>")
  report.second = child.wait_for("> Needle039 is here")
  child.request("nvim_ui_try_resize", 80, 24)
  t.wait("the narrow layout", function()
    return place(child).floats == 2
  end)
  report.narrow = child.wait_for("40 results")
  child.stop()
  return report
end

function M.hostile(t)
  new_session(t, { t.user_message("a \27[31m %d 界面 \226\128\174 needle" .. (" x"):rep(200)) })
  local child = start(t, 140)
  child.type(":Segue search needle<CR>")
  local screen = child.wait_for("2 results")
  child.stop()
  return { screen = screen }
end

function M.not_installed(t)
  local child = start(t, 80, "telescope")
  child.lua("vim.g.segue = vim.tbl_extend('force', vim.g.segue, { cmd = { '/nowhere/segue', 'lsp' } })")
  child.type(":Segue search word<CR>")
  t.wait("the notice", function()
    return #child.lua("return notices") > 0
  end)
  local report = { missing_server = child.lua("return notices"), floats = place(child).floats }
  child.stop()
  child = start(t, 80, "telescope")
  child.type(":Segue search<CR>")
  report.screen = child.wait_for("Type words")
  report.missing_picker = child.lua("return notices")
  child.stop()
  return report
end

-- With the picker of another plugin.
function M.picker(t)
  local id = new_session(t, turns(t, 60))
  local child = start(t, 140, "auto")
  child.type(":Segue search<CR>")
  local report = { hint = child.wait_for("Type words") }
  child.type("needle")
  report.found = child.wait_for("> Needle060 is here")
  report.used = child.lua([[
    local loaded = vim.tbl_filter(function(name)
      return package.loaded["segue.pickers." .. name] ~= nil
    end, { "snacks", "telescope", "fzf_lua", "builtin" })
    return loaded[#loaded]
  ]])
  child.type(("<C-n>"):rep(t.args.steps_to_last))
  child.wait_for("Load more")
  vim.wait(300)
  child.type("<CR>")
  t.wait("the next page", function()
    return child.screen():find("60 ?/ ?60")
  end)
  child.type(("<BS>"):rep(6) .. "needle023")
  child.wait_for("> Needle023 is here")
  vim.wait(300)
  child.type("<CR>")
  t.wait("the transcript", function()
    return vim.startswith(place(child).name, "segue://" .. id)
  end)
  child.wait_for("answer 23")
  report.id, report.place = id, place(child)
  report.asked = child.lua("return asked")
  report.notices = child.lua("return notices")
  child.stop()
  return report
end

return M
