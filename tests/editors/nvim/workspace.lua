-- Which conversation is the default one.

local segue = require("segue")

local M = {}

local function say(t, content)
  local result = t.call_ok("append", t.user_message(content), nil)
  assert(segue.current().id == result.session_id, "it is the current one")
  return result.session_id
end

function M.follows_the_project(t)
  local a, b, plain = t.args.a, t.args.b, t.args.plain
  local report = {}
  vim.cmd.edit(a .. "/sub/file.txt")
  report.file_of_a = say(t, "in a")
  vim.cmd.edit(b .. "/file.txt")
  report.file_of_b = say(t, "in b")
  vim.cmd.edit(a .. "/other.txt")
  report.back_in_a = say(t, "in a again")
  vim.cmd.cd(b)
  vim.cmd.enew()
  report.unnamed_in_b = say(t, "in b again")
  vim.cmd.tabnew()
  vim.cmd.tcd(plain)
  report.tab = say(t, "in plain")
  vim.cmd.tabprevious()
  report.first_tab = say(t, "in b, again")
  vim.cmd.new()
  vim.cmd.lcd(a .. "/sub")
  report.window_in_a = say(t, "in a, again")
  vim.cmd.wincmd("p")
  vim.cmd.cd(t.args.link)
  report.link_to_a = say(t, "in a through a link")
  vim.cmd.cd(b)
  vim.api.nvim_buf_set_name(0, "oil://" .. a .. "/")
  report.oil_in_a = say(t, "in a with oil")
  vim.cmd.enew()
  vim.api.nvim_buf_set_name(0, "scp://host/a")
  report.remote_in_b = say(t, "in b with a remote file")
  vim.cmd.terminal("true")
  report.terminal_in_b = say(t, "in b with a terminal")
  vim.cmd.enew()
  vim.b.segue_workspace = a
  report.named_a = say(t, "in a by its name")
  vim.cmd.edit(b .. "/file.txt")
  report.status_in_b = segue.status()
  vim.cmd.edit(a .. "/sub/file.txt")
  report.status_in_a = segue.status()
  return report
end

-- Answers are stored with their question, wherever the user is meanwhile.
function M.answers_stay(t)
  vim.cmd.edit(t.args.a .. "/file.txt")
  local a = say(t, "in a")
  segue.append({ type = "text", data = { content = "answered at once" } })
  vim.cmd.edit(t.args.b .. "/file.txt")
  segue.append({ type = "text", data = { content = "answered later" } }, { session_id = a })
  segue.append(t.user_message("in b"))
  t.wait_until_stored()
  return { a = a, b = segue.current().id }
end

function M.folder_is_removed(t)
  vim.cmd.cd(t.args.root .. "/sub")
  local before = say(t, "before")
  vim.fn.delete(t.args.root, "rf")
  local after = say(t, "after")
  t.kill_server()
  local restarted = say(t, "restarted")
  return { before = before, after = after, restarted = restarted }
end

function M.going_on_after_archive(t)
  local first = say(t, "one")
  vim.cmd.Segue("archive")
  t.wait("no session is open", function()
    return segue.current() == nil
  end)
  local late = { type = "text", data = { content = "late" } }
  t.call_ok("append", late, { session_id = first })
  local after_answer = segue.current() ~= nil
  t.call_ok("append", t.user_message("going on"), { session_id = first })
  local after_question = segue.current() and segue.current().id
  t.call_ok("delete", { session_id = first })
  local deleted = t.call("append", t.user_message("to what is deleted"), { session_id = first })
  local deleted_again = t.call("append", late, { session_id = first })
  local after_deletion = segue.current() ~= nil
  local second = say(t, "a new one")
  return {
    first = first,
    after_answer = after_answer,
    after_question = after_question,
    after_deletion = after_deletion,
    errors = { deleted.kind, deleted_again.kind },
    second = second,
  }
end

return M
