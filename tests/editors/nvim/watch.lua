-- `segue watch` as a child of Neovim, and the notification that there are conversations.

local M = {}

local function watch_pid(t)
  t.wait("`segue watch` runs", function()
    return require("segue.watch").info().pid
  end)
  return require("segue.watch").info().pid
end

-- As `setup` does when Neovim has started, which it has not before `-c` is done.
local function set(watch)
  require("segue").setup({ watch = watch })
  require("segue.watch").update()
end

local function is_running(pid)
  return vim.uv.kill(pid, 0) == 0
end

local function titles(t)
  local page = t.call_ok("list", { cwd = false })
  return vim.tbl_map(function(session)
    return session.title
  end, page.sessions)
end

function M.imports(t)
  set(true)
  local first = watch_pid(t)
  t.wait("the conversation is stored", function()
    return #titles(t) == 1
  end)
  vim.cmd.checkhealth("segue")
  local health = table.concat(t.lines(), "\n")
  set(false)
  t.wait("it has ended", function()
    return not is_running(first)
  end)
  set(true)
  return { titles = titles(t), health = health, first = first, pid = watch_pid(t) }
end

function M.toggled(t)
  set(true)
  local first = watch_pid(t)
  set(false)
  set(true)
  local second = watch_pid(t)
  t.wait("the first has ended", function()
    return not is_running(first)
  end)
  vim.wait(300)
  return { first = first, second = second, pid = require("segue.watch").info().pid }
end

function M.set_before_start(t)
  vim.g.segue = vim.tbl_extend("force", vim.g.segue, { watch = true })
  vim.api.nvim_exec_autocmds("VimEnter", { group = "segue" }) -- it comes after `-c`
  assert(not package.loaded["segue.watch"])
  return { pid = watch_pid(t) }
end

function M.killed(t)
  set(true)
  local first = watch_pid(t)
  vim.uv.kill(first, "sigkill")
  t.wait("it has ended", function()
    return not require("segue.watch").info().pid
  end)
  return { first = first, pid = watch_pid(t) }
end

function M.wrong_command(t)
  set(true)
  t.wait("a notification", function()
    return #t.notices > 0
  end)
  vim.wait(300)
  return { pid = require("segue.watch").info().pid or vim.NIL }
end

function M.offer(t)
  for _ = 1, 2 do
    require("segue.watch").offer()
    vim.wait(3000, function()
      return #t.notices > 1
    end)
  end
end

function M.headless(t)
  t.call_ok("append", t.user_message("one"), nil)
  vim.wait(2000)
end

return M
