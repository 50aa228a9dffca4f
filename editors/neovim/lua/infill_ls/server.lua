-- Starts the server for a buffer, starts it again after it died, and ends it: one at a time.
local command_line = require('infill_ls.command_line')
local config = require('infill_ls.config')
local consent = require('infill_ls.consent')
local find = require('infill_ls.find')
local resync = require('infill_ls.resync')
local status = require('infill_ls.status')

local M = {}

M.NAME = 'infill_ls'
local BACK_OFF_MS = { 500, 2000, 8000, 30000 } -- one restart each; then it stays down
local STABLE_SECONDS = 180 -- a server that ran so long did not die of its start
local SHUTDOWN_MS = 2000 -- for a server to end by itself; then it is terminated
local ENDED_MS = 10000 -- then another is started, whether it has ended or not

local restarts = 0
local started_at = 0
local active = false -- whether servers are to run
local asked = 0 -- counts start, stop and restart; what an older one planned is no longer wanted
local ending = {} -- ids of clients that were asked to stop: their end is no crash
local notified = {}

-- Says a thing once a session: a language server is asked at every buffer.
local function notify_once(message, level)
  if not notified[message] then
    notified[message] = true
    vim.schedule(function()
      vim.notify(message, level)
    end)
  end
end

-- The folder that the server is given: the project's, else the file's own.
function M.root(bufnr)
  local name = vim.api.nvim_buf_get_name(bufnr)
  if name == '' then
    return vim.uv.cwd()
  end
  local markers = config.get().root_markers
  return vim.fs.root(bufnr, markers) or vim.fs.dirname(name)
end

-- Until 0.10 a client is a table of functions, from 0.11 an object with methods.
local methods = vim.fn.has('nvim-0.11') == 1

function M.call(client, name, ...)
  if methods then
    return client[name](client, ...)
  end
  return client[name](...)
end

function M.clients(filter)
  return vim.lsp.get_clients(vim.tbl_extend('force', { name = M.NAME }, filter or {}))
end

-- The client of a buffer; several can only be after a folder changed its root.
function M.client(bufnr)
  return M.clients({ bufnr = bufnr })[1]
end

-- Those that are still starting, or ending, as well.
local function every_client()
  return M.clients({ _uninitialized = true })
end

local function wanted(bufnr)
  if vim.bo[bufnr].buftype ~= '' or vim.b[bufnr].infill_ls == false then
    return false
  end
  local filetypes = config.get().filetypes
  return filetypes == nil or vim.tbl_contains(filetypes, vim.bo[bufnr].filetype)
end

-- Whether a server may be started for the buffer; complains once where there is none.
local function startable(bufnr)
  if not wanted(bufnr) then
    return false
  end
  local command, why, program = find.server(M.root(bufnr))
  if command then
    return true
  end
  status.set({ kind = 'Error', message = why })
  if program then
    consent.ask_once(program, M.start)
  else
    -- Short: a message that does not fit the screen's width waits for a key.
    notify_once('infill_ls: no server; see :checkhealth infill_ls', vim.log.levels.WARN)
  end
  return false
end

-- Older Neovims do not know the feature, so they do not offer it.
local function capabilities()
  local known = vim.lsp.protocol.make_client_capabilities()
  known.textDocument.inlineCompletion = { dynamicRegistration = false }
  return known
end

local function plugin_info()
  local v = vim.version()
  local version = ('%d.%d.%d'):format(v.major, v.minor, v.patch)
  return {
    editorInfo = { name = 'Neovim', version = version },
    -- By this the server knows that its status notifications are read.
    editorPluginInfo = { name = 'infill_ls', version = '0.1.0' },
    infill = next(config.get().settings) and config.get().settings or nil,
  }
end

local function on_exit(code, signal, client_id)
  vim.schedule(function()
    status.gone(client_id)
    if ending[client_id] or vim.v.exiting ~= vim.NIL or (code == 0 and signal == 0) then
      return
    end
    if vim.uv.now() / 1000 - started_at > STABLE_SECONDS then
      restarts = 0
    end
    restarts = restarts + 1
    local delay = BACK_OFF_MS[restarts]
    if not delay then
      local message = 'the server keeps dying; :Infill restart tries again'
      status.set({ kind = 'Error', message = message })
      vim.notify('infill_ls: ' .. message, vim.log.levels.ERROR)
      return
    end
    status.set({ kind = 'Warning', message = 'restarting' })
    if restarts == 1 then
      vim.notify('infill_ls: the server died and is started again', vim.log.levels.WARN)
    end
    local mine = asked
    vim.defer_fn(function()
      if mine == asked then
        M.start()
      end
    end, delay)
  end)
end

-- One client a root, and none that is ending.
local function reusable(client, wanted_config)
  return client.name == M.NAME
    and client.root_dir == wanted_config.root_dir
    and not ending[client.id]
end

-- What both ways of starting share. The program is looked for as late as can be. Before 0.12 `cmd`
-- is not given the root; before 0.11 it is known here.
local function client_config(known_root)
  local settings = config.get().settings
  return {
    name = M.NAME,
    cmd = function(dispatchers, resolved)
      local root = resolved and resolved.root_dir or known_root or M.root(0)
      local command, why = find.server(root)
      assert(command, why)
      started_at = vim.uv.now() / 1000
      return vim.lsp.rpc.start(command_line.to_serve(command), dispatchers, { cwd = find.cwd() })
    end,
    capabilities = capabilities(),
    init_options = plugin_info(),
    settings = next(settings) and { infill = settings } or nil,
    handlers = {
      didChangeStatus = function(_, params, context)
        status.server(context.client_id, params)
      end,
    },
    on_init = function(client)
      if not active then -- it was to stop before it had begun to start
        ending[client.id] = true
        return M.call(client, 'stop')
      end
      require('infill_ls.ghost_text').prepare(client)
    end,
    on_attach = function(client, bufnr)
      resync.watch(bufnr)
      require('infill_ls.ghost_text').attach(client, bufnr)
      require('infill_ls.next_edit').attach(bufnr)
    end,
    on_exit = on_exit,
  }
end

-- 0.10 has neither vim.lsp.config nor vim.lsp.enable.
local function start_by_hand(bufnr)
  if not startable(bufnr) then
    return
  end
  local own = client_config(M.root(bufnr))
  own.root_dir = M.root(bufnr)
  vim.lsp.start(own, { bufnr = bufnr, reuse_client = reusable })
end

-- For every buffer that is open, and for those to come.
local function launch()
  active = true
  resync.listen_again()
  if vim.lsp.enable then
    local own = client_config()
    own.reuse_client = reusable
    own.filetypes = config.get().filetypes
    own.root_dir = function(bufnr, on_dir)
      if startable(bufnr) then
        on_dir(M.root(bufnr))
      end
    end
    vim.lsp.config(M.NAME, own)
    vim.lsp.enable(M.NAME)
    return
  end
  local group = vim.api.nvim_create_augroup('infill_ls.start', { clear = true })
  vim.api.nvim_create_autocmd('FileType', {
    group = group,
    callback = function(event)
      start_by_hand(event.buf)
    end,
  })
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(bufnr) and vim.bo[bufnr].filetype ~= '' then
      start_by_hand(bufnr)
    end
  end
end

local function any_ending()
  return vim.iter(every_client()):any(function(client)
    return ending[client.id]
  end)
end

-- Starts the server, once those that are ending have ended.
function M.start()
  asked = asked + 1
  local mine = asked
  local until_ms = vim.uv.now() + ENDED_MS
  local function when_ended()
    if mine ~= asked then
      return
    end
    if any_ending() and vim.uv.now() < until_ms then
      vim.defer_fn(when_ended, 50)
    else
      launch()
    end
  end
  when_ended()
end

function M.stop()
  asked = asked + 1
  active = false
  restarts = 0
  pcall(vim.api.nvim_del_augroup_by_name, 'infill_ls.start')
  local clients = every_client()
  for _, client in ipairs(clients) do
    ending[client.id] = true
  end
  if vim.lsp.enable then
    vim.lsp.enable(M.NAME, false)
  end
  for _, client in ipairs(clients) do
    if not M.call(client, 'is_stopped') then
      M.call(client, 'stop')
    end
  end
  vim.defer_fn(function()
    for _, client in ipairs(every_client()) do
      if ending[client.id] then
        M.call(client, 'stop', true)
      end
    end
  end, SHUTDOWN_MS)
end

function M.restart()
  M.stop()
  notified = {}
  M.start()
end

return M
