-- What happens to the server, and what the person notices of it.

local segue = require("segue")

local M = {}

function M.killed_under_load(t)
  t.ok("open", nil)
  local answers = {}
  for number = 1, t.given.count do
    segue.append(t.said("event " .. number), nil, function(err, result)
      assert(not err, vim.inspect(err))
      table.insert(answers, result.events[1].seq)
    end)
    if number % 20 == 0 then
      vim.wait(1)
    end
    if number == t.given.count / 2 then
      t.kill_server()
    end
  end
  t.wait_until_stored()
  t.wait("every answer", function()
    return #answers == t.given.count
  end)
  return { answers = answers, session = segue.current().id }
end

function M.killed_too_often(t)
  segue.append(t.said("before"))
  t.wait_until_stored()
  for _ = 1, 4 do
    t.kill_server()
  end
  segue.append(t.said("kept"))
  vim.wait(300)
  local seen = {
    state = require("segue.server").info().state,
    unsent = require("segue.registry").unsent(),
    notices_then = vim.deepcopy(t.notices),
  }
  -- Somebody asks for it: it is tried once more.
  vim.cmd.Segue("list")
  segue.append(t.said("and after"))
  t.wait_until_stored()
  return seen
end

function M.not_installed(t)
  segue.append(t.said("one"))
  segue.append(t.said("two"))
  t.call("open", nil)
  vim.cmd.Segue("resume")
  vim.wait(100)
  local unsent = require("segue.registry").unsent()
  vim.g.segue = { cmd = t.given.cmd }
  segue.append(t.said("three"))
  t.wait_until_stored()
  return { unsent = unsent }
end

function M.quit_at_once(t)
  for number = 1, t.given.count do
    segue.append(t.said("event " .. number))
  end
end

function M.quit_with_a_big_one(t)
  t.ok("open", nil)
  segue.append(t.said(("x"):rep(5 * 1024 * 1024)))
  segue.append(t.said("after"))
end

-- The handler of Neovim's own client, which says `shutdown`, may come before ours.
function M.quit_after_another_client(t)
  vim.lsp.get_clients()
  t.ok("open", nil)
  for number = 1, t.given.count do
    segue.append(t.said("event " .. number))
    vim.wait(0)
  end
end

function M.never_blocks(t)
  t.ok("open", nil)
  vim.uv.kill(t.server_pid(), "sigstop")
  local slowest = 0
  local function timed(call)
    local before = vim.uv.hrtime()
    call()
    slowest = math.max(slowest, (vim.uv.hrtime() - before) / 1e6)
  end
  for number = 1, 50 do
    timed(function()
      segue.append(t.said(("event %d "):format(number) .. ("x"):rep(2000)))
    end)
    timed(segue.status)
    timed(segue.current)
    timed(function()
      vim.wait(0)
    end)
  end
  timed(function()
    vim.fn.getcompletion("Segue show ", "cmdline")
  end)
  timed(function()
    vim.cmd.Segue("list")
  end)
  timed(function()
    vim.cmd.Segue("info")
  end)
  vim.uv.kill(t.server_pid(), "sigcont")
  t.wait_until_stored()
  return { slowest = slowest }
end

function M.status_asks_nothing(t)
  local asked = 0
  local server = require("segue.server")
  local request = server.request
  local before = segue.status()
  t.ok("append", t.said("one"), nil)
  server.request = function(...)
    asked = asked + 1
    return request(...)
  end
  local during
  for _ = 1, 1000 do
    during = segue.status()
  end
  local counted = asked
  segue.append({ t.said("two"), t.said("three") })
  local waiting = segue.status()
  t.wait_until_stored()
  return { before = before, during = during, waiting = waiting, after = segue.status(), asked = counted }
end

return M
