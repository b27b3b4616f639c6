-- Uses the server with Neovim's own LSP client, without the plugin. Its environment:
--   SEGUE_COMMAND  the server's command, as a JSON array
--   SEGUE_REPORT   the file to write, as JSON
--   SEGUE_EVENTS   how many events to append before Neovim exits, without waiting for responses

local function write_report(report)
  vim.fn.writefile({ vim.json.encode(report) }, vim.env.SEGUE_REPORT)
end

local function run()
  local root = vim.uv.cwd()
  local id = assert(vim.lsp.start({
    name = "segue",
    cmd = vim.json.decode(vim.env.SEGUE_COMMAND),
    root_dir = root,
    exit_timeout = 5000, -- Neovim 0.12 terminates the server at once otherwise
  }, { attach = false }))
  local client = assert(vim.lsp.get_client_by_id(id))
  assert(
    vim.wait(20000, function()
      return client.initialized == true
    end, 5),
    "the server did not respond to initialize"
  )

  local response = assert(client:request_sync("session/open", {
    workspace = vim.uri_from_fname(root),
    tail = 1000,
  }, 20000))
  assert(not response.err, vim.inspect(response.err))
  local opened = response.result

  local contents = {}
  for _, event in ipairs(opened.events) do
    table.insert(contents, event.data.content)
  end
  write_report({
    session = opened.session.sessionId,
    resumed = opened.resumed,
    contents = contents,
    sync = client.server_capabilities.textDocumentSync or vim.NIL,
    editor = vim.uv.os_getpid(),
  })

  for number = 1, tonumber(vim.env.SEGUE_EVENTS) do
    client:request("session/append", {
      sessionId = opened.session.sessionId,
      events = { { type = "user_message", data = { content = "event " .. number } } },
    }, function() end)
  end
end

local ok, problem = xpcall(run, debug.traceback)
if not ok then
  write_report({ problem = tostring(problem) })
  vim.cmd("cquit!")
end
vim.cmd("qa!")
