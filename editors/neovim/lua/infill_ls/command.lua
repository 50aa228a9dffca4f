-- :Infill. The editing is the server's: it sends a workspace/applyEdit with the version it read.
local consent = require('infill_ls.consent')
local find = require('infill_ls.find')
local server = require('infill_ls.server')
local status = require('infill_ls.status')

local M = {}

local function client_of(bufnr)
  local client = server.client(bufnr)
  if not client then
    vim.notify('infill: no server for this buffer; :checkhealth infill_ls', 3)
  end
  return client
end

local function execute(client, bufnr, name, about)
  about.uri = vim.uri_from_bufnr(bufnr)
  about.version = vim.lsp.util.buf_versions[bufnr]
  local params = { command = name, arguments = { about } }
  server.call(client, 'request', 'workspace/executeCommand', params, function(err)
    if err then
      vim.notify('infill: ' .. err.message, vim.log.levels.ERROR)
    end
  end, bufnr)
end

local actions = {
  holes = function()
    local bufnr = vim.api.nvim_get_current_buf()
    local client = client_of(bufnr)
    if client then
      execute(client, bufnr, 'infill.infillHoles', {})
    end
  end,
  explain = function()
    require('infill_ls.about').explain()
  end,
  snooze = function(minutes)
    require('infill_ls.about').snooze(minutes)
  end,
  stats = function()
    require('infill_ls.about').tell_stats()
  end,
  forget = function()
    require('infill_ls.about').forget()
  end,
  wake = function()
    require('infill_ls.about').snooze(0)
  end,
  doctor = function()
    require('infill_ls.doctor').run()
  end,
  restart = function()
    server.restart()
  end,
  start = function()
    server.start()
  end,
  stop = function()
    server.stop()
  end,
  status = function()
    local now = status.get()
    vim.notify('infill: ' .. now.state .. (now.message ~= '' and ': ' .. now.message or ''))
  end,
  trust = function()
    local program = find.workspace_program(server.root(0))
    if program then
      consent.ask(program, server.restart)
    else
      vim.notify('infill: this workspace has no infill-ls, or yours comes first')
    end
  end,
}

function M.complete(lead)
  local names = vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, vim.tbl_keys(actions))
  table.sort(names)
  return names
end

-- The ends of whole lines, or of the visual selection when the range is its.
local function range_of(command, client, bufnr)
  local from, to = vim.fn.getpos("'<"), vim.fn.getpos("'>")
  local visual = vim.fn.visualmode() == 'v'
    and from[2] == command.line1
    and to[2] == command.line2
    and (from[3] > 1 or to[3] < #vim.fn.getline(to[2]))
  local first, last = { command.line1, 0 }, { command.line2, nil }
  if visual then
    first, last = { from[2], from[3] - 1 }, { to[2], to[3] - 1 }
  else
    last[2] = math.max(#vim.fn.getline(command.line2) - 1, 0)
    if vim.fn.getline(command.line2) == '' and command.line1 == command.line2 then
      local at = { line = command.line1 - 1, character = 0 }
      return { start = at, ['end'] = at }
    end
  end
  local encoding = client.offset_encoding
  return vim.lsp.util.make_given_range_params(first, last, bufnr, encoding).range
end

function M.run(command)
  if command.args ~= '' then
    local name, number = command.args:match('^(%a+)%s*(%d*)$')
    local action = actions[name]
    if not action then
      local names = table.concat(M.complete(''), ', ')
      vim.notify(('infill: no action "%s"; there is: %s'):format(command.args, names), 3)
      return
    end
    return action(tonumber(number))
  end
  local bufnr = vim.api.nvim_get_current_buf()
  local client = client_of(bufnr)
  if not client then
    return
  end
  local about = {}
  local name = 'infill.infillAtCursor'
  if command.range > 0 then
    name = 'infill.infillSelection'
    about.range = range_of(command, client, bufnr)
  else
    about.position = vim.lsp.util.make_position_params(0, client.offset_encoding).position
  end
  execute(client, bufnr, name, about)
end

return M
