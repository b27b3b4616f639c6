-- Server crashes, exit of Neovim, and unresponsive servers.

local segue = require("segue")

local M = {}

function M.crash_under_load(t)
  t.call_ok("open", nil)
  local seqs = {}
  for number = 1, t.args.count do
    segue.append(t.user_message("event " .. number), nil, function(err, result)
      assert(not err, vim.inspect(err))
      table.insert(seqs, result.events[1].seq)
    end)
    if number % 20 == 0 then
      vim.wait(1)
    end
    if number == t.args.count / 2 then
      t.kill_server()
    end
  end
  t.wait_until_stored()
  t.wait("every callback", function()
    return #seqs == t.args.count
  end)
  return { seqs = seqs, session = segue.current().id }
end

function M.crash_too_often(t)
  segue.append(t.user_message("before"))
  t.wait_until_stored()
  for _ = 1, 4 do
    t.kill_server()
  end
  segue.append(t.user_message("kept"))
  vim.wait(300)
  local report = {
    state = require("segue.server").info().state,
    unsent = require("segue.registry").unsent(),
    notices_before_command = vim.deepcopy(t.notices),
  }
  -- A command resets the crash limit.
  vim.cmd.Segue("list")
  segue.append(t.user_message("and after"))
  t.wait_until_stored()
  return report
end

function M.not_installed(t)
  segue.append(t.user_message("one"))
  segue.append(t.user_message("two"))
  t.call("open", nil)
  local notices_before_command = #t.notices
  vim.cmd.Segue("resume")
  vim.cmd.Segue("info")
  vim.wait(100)
  local unsent = require("segue.registry").unsent()
  vim.g.segue = { cmd = t.args.cmd }
  segue.append(t.user_message("three"))
  t.wait_until_stored()
  return { unsent = unsent, notices_before_command = notices_before_command }
end

function M.exit_with_appends_in_flight(t)
  for number = 1, t.args.count do
    segue.append(t.user_message("event " .. number))
  end
end

function M.exit_with_large_event_in_flight(t)
  t.call_ok("open", nil)
  segue.append(t.user_message(("x"):rep(5 * 1024 * 1024)))
  segue.append(t.user_message("after"))
end

-- Loads Neovim's LSP module first, so that its exit handler, which sends `shutdown`, runs first.
function M.exit_after_lsp_exit_handler(t)
  vim.lsp.get_clients()
  t.call_ok("open", nil)
  for number = 1, t.args.count do
    segue.append(t.user_message("event " .. number))
    vim.wait(0)
  end
end

function M.never_blocks(t)
  t.call_ok("open", nil)
  vim.uv.kill(t.server_pid(), "sigstop")
  local slowest = 0
  local function timed(call)
    local before = vim.uv.hrtime()
    call()
    slowest = math.max(slowest, (vim.uv.hrtime() - before) / 1e6)
  end
  for number = 1, 50 do
    timed(function()
      segue.append(t.user_message(("event %d "):format(number) .. ("x"):rep(2000)))
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

function M.status_sends_no_request(t)
  local requests = 0
  local server = require("segue.server")
  local request = server.request
  local before = segue.status()
  t.call_ok("append", t.user_message("one"), nil)
  server.request = function(...)
    requests = requests + 1
    return request(...)
  end
  local during
  for _ = 1, 1000 do
    during = segue.status()
  end
  local counted = requests
  segue.append({ t.user_message("two"), t.user_message("three") })
  local waiting = segue.status()
  t.wait_until_stored()
  return {
    before = before,
    during = during,
    waiting = waiting,
    after = segue.status(),
    requests = counted,
  }
end

return M
