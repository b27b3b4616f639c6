-- The list of `:Segue`, in a Neovim with a screen: what it shows, and what its keys do.

local here = vim.fs.dirname(debug.getinfo(1, "S").source:sub(2))
local children = dofile(vim.fs.joinpath(here, "child.lua"))

local M = {}

local function start(t, columns, lines)
  local child = children.start(t, { "set shortmess+=I" }, columns or 60, lines or 24)
  child.lua([[
    notices = {}
    vim.notify = function(message) table.insert(notices, message) end
    selected, answer = {}, nil
    vim.ui.select = function(items, opts, on_choice)
      table.insert(selected, opts.prompt)
      on_choice(items[answer], answer)
    end
    vim.ui.input = function(opts, on_confirm)
      table.insert(selected, opts.prompt .. opts.default)
      on_confirm("A better title")
    end
  ]])
  function child.rows()
    return child.lua("return vim.api.nvim_buf_get_lines(0, 0, -1, false)")
  end
  function child.wait_until(code)
    t.wait(code, function()
      return child.lua("return " .. code)
    end)
  end
  return child
end

local function finish(child, report)
  report.said = child.lua("return notices")
  report.selected = child.lua("return selected")
  child.stop()
  return report
end

-- What a list of any length shows, and the pages that scrolling brings.
function M.screens(t)
  local child = start(t, t.args.columns, t.args.lines)
  child.request("nvim_command", t.args.before or "")
  child.run("vim.cmd('Segue" .. (t.args.bang and "!" or "") .. "')")
  local report = { screen = child.wait_for(t.args.expected) }
  local lines = child.rows()
  report.first, report.cursor = lines, child.lua("return vim.fn.line('.')")
  report.name = child.lua("return vim.api.nvim_buf_get_name(0)")
  for _ = 1, 6 do
    child.type("G")
    vim.wait(300)
  end
  report.all = child.rows()
  return finish(child, report)
end

-- Each key, on the session under the cursor.
function M.keys(t)
  local child = start(t, 80, 30)
  local function open(title)
    child.run("vim.cmd.only() vim.cmd.enew() vim.cmd.Segue()")
    child.wait_for(title)
    child.lua("vim.fn.search(...)", title)
  end
  local function current()
    return child.lua("local s = require('segue').current() return s and s.id")
  end
  local report = {}
  open("question 2")
  child.type("s")
  child.wait_for("answer 2")
  report.shown = child.lua("return vim.api.nvim_buf_get_name(0)")
  report.current_after_show = current()
  open("question 2")
  child.type("r")
  child.wait_until("vim.fn.search('A better title', 'nw') > 0")
  report.line_after_rename = child.lua("return vim.fn.getline('.')")
  child.type("f")
  child.wait_until("vim.api.nvim_buf_get_name(0):find('^segue://') ~= nil")
  report.fork = current()
  open("question 1")
  child.type("a")
  child.wait_until("vim.fn.search('question 1', 'nw') == 0")
  child.type("A")
  child.wait_until("vim.fn.search('question 1.*archived', 'w') > 0")
  child.type("a")
  child.wait_until("vim.fn.search('question 1', 'nw') > 0 and vim.fn.search('archived', 'nw') == 0")
  open("question 3")
  child.lua("answer = 1")
  child.type("d")
  vim.wait(200)
  report.kept = child.lua("return vim.fn.search('question 3', 'nw') > 0")
  child.lua("answer = 2")
  child.type("d")
  child.wait_until("vim.fn.search('question 3', 'nw') == 0")
  child.type("gg")
  child.type("s")
  child.type("g?")
  report.help = child.wait_for("close the list")
  child.type("q")
  child.wait_until("vim.bo.filetype == 'segue'")
  child.type("/")
  report.search = child.wait_for("Search this workspace")
  child.type("<Esc><Esc>")
  child.wait_until("vim.bo.filetype == 'segue'")
  child.lua("vim.fn.search('question 1')")
  child.type("<CR>")
  child.wait_for("answer 1")
  report.resumed = current()
  report.lists_left = child.lua([[
    return #vim.tbl_filter(function(window)
      return vim.bo[vim.api.nvim_win_get_buf(window)].filetype == "segue"
    end, vim.api.nvim_list_wins())
  ]])
  open("question 1")
  report.starred = child.lua("return vim.fn.getline('.')")
  child.type("q")
  child.wait_until("vim.bo.filetype ~= 'segue'")
  child.run("vim.cmd.only() vim.cmd.Segue() vim.cmd.only()")
  child.wait_for("question 1")
  child.type("q")
  child.wait_until("vim.bo.filetype ~= 'segue'")
  return finish(child, report)
end

-- What another editor stores appears; the cursor stays on its session; also after a server's crash,
-- and after so many that it is not restarted until `R`.
function M.live(t)
  local child = start(t, 80, 20)
  child.run("vim.cmd.Segue()")
  child.wait_for("question 2")
  child.lua("vim.fn.search('question 2')")
  t.set_flag("shown")
  child.wait_until("vim.fn.search('from elsewhere', 'nw') > 0")
  local report = { line = child.lua("return vim.fn.getline('.')") }
  local function kill()
    child.wait_until("require('segue.server').info().state == 'ready'")
    child.lua("vim.uv.kill(require('segue.server').info().pid, 'sigkill')")
    child.wait_until("require('segue.server').info().state ~= 'ready'")
  end
  kill()
  t.set_flag("killed")
  child.wait_until("vim.fn.search('after the kill', 'nw') > 0")
  report.line_at_end = child.lua("return vim.fn.getline('.')")
  for _ = 1, 3 do
    kill()
  end
  child.wait_until("require('segue.server').info().state == 'failed'")
  t.set_flag("failed")
  t.wait_for_flag("stored while it has failed")
  child.type("R")
  child.wait_until("vim.fn.search('after the crashes', 'nw') > 0")
  return finish(child, report)
end

-- Without a server, the list says what to do.
function M.not_installed(t)
  local child = start(t, 80, 20)
  child.lua("vim.g.segue = { cmd = { '/nowhere/segue', 'lsp' } }")
  child.run("vim.cmd.Segue()")
  return finish(child, { screen = child.wait_for("To install the server") })
end

return M
