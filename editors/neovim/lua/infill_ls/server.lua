-- Finds the server, starts it for a buffer, and starts it again after it died.
local config = require('infill_ls.config')
local status = require('infill_ls.status')

local M = {}

M.NAME = 'infill_ls'
local BACK_OFF_MS = { 500, 2000, 8000, 30000 } -- one restart each; then it stays down
local CALM_SECONDS = 180 -- a server that ran so long did not die of its start

local restarts = 0
local started_at = 0
local stopping = false -- so that stopping it ourselves is no crash
local told = {}

local windows = vim.fn.has('win32') == 1

-- Says a thing once a session: a language server is asked at every buffer.
local function tell_once(message, level)
  if not told[message] then
    told[message] = true
    vim.schedule(function()
      vim.notify(message, level)
    end)
  end
end

-- The folder that the server is told of: the project's, else the file's own.
function M.root(bufnr)
  local name = vim.api.nvim_buf_get_name(bufnr)
  if name == '' then
    return vim.uv.cwd()
  end
  local markers = config.get().root_markers
  return vim.fs.root(bufnr, markers) or vim.fs.dirname(name)
end

local function venv_command(venv)
  if not venv or venv == '' then
    return nil
  end
  local bin = windows and 'Scripts/infill-ls.exe' or 'bin/infill-ls'
  local path = vim.fs.joinpath(venv, bin)
  return vim.fn.executable(path) == 1 and path or nil
end

-- The command line and where it was found, or nil and what to do about it.
function M.find(root)
  local given = config.get().cmd
  if given then
    if vim.fn.executable(given[1]) == 0 then
      return nil, ('the configured command %s cannot be run'):format(given[1])
    end
    return given, 'the option cmd'
  end
  for _, venv in ipairs({ '.venv', 'venv' }) do
    local path = root and venv_command(vim.fs.joinpath(root, venv))
    if path then
      return { path }, "the workspace's " .. venv
    end
  end
  local active = venv_command(vim.env.VIRTUAL_ENV)
  if active then
    return { active }, 'the active virtual environment'
  end
  local path = vim.fn.exepath('infill-ls')
  if path ~= '' then
    return { path }, 'PATH'
  end
  return nil,
    'infill-ls was not found: not in .venv or venv of the workspace, not on PATH. '
      .. 'Install it (pipx install infill-ls), or set the option cmd; see :help infill_ls-server'
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
  local command, why = M.find(M.root(bufnr))
  if not command then
    status.set({ kind = 'Error', message = why })
    -- Short: a message that does not fit the screen's width waits for a key.
    tell_once('infill_ls: no server; see :checkhealth infill_ls', vim.log.levels.WARN)
    return false
  end
  return true
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
    if stopping or vim.v.exiting ~= vim.NIL or (code == 0 and signal == 0) then
      return
    end
    if vim.uv.now() / 1000 - started_at > CALM_SECONDS then
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
    vim.defer_fn(M.start, delay)
  end)
end

-- Neovim (0.10 to 0.12) stops listening to a buffer at the first key without any client, and goes on
-- to believe that it listens: a server that came back would never hear of another change. So we
-- notice the same moment, and before the next start make it believe otherwise. The table is hidden
-- in a closure; where it is not found, nothing is done.
local deaf = {}
local watched = {}

local function watch(bufnr)
  if watched[bufnr] then
    return
  end
  watched[bufnr] = true
  vim.api.nvim_buf_attach(bufnr, false, {
    on_lines = function()
      if #vim.lsp.get_clients({ bufnr = bufnr, _uninitialized = true }) == 0 then
        deaf[bufnr] = true
      end
    end,
    on_detach = function()
      watched[bufnr] = nil
      deaf[bufnr] = nil
    end,
  })
end

local function upvalue(of, wanted_name)
  for i = 1, 60 do
    local name, value = debug.getupvalue(of, i)
    if name == wanted_name or name == nil then
      return value
    end
  end
end

local function listen_again()
  local attach = upvalue(vim.lsp.buf_attach_client, 'buf_attach') or vim.lsp.buf_attach_client
  local believed = upvalue(attach, 'attached_buffers')
  for bufnr in pairs(deaf) do
    deaf[bufnr] = nil
    if type(believed) == 'table' then
      believed[bufnr] = nil
    end
  end
end

-- What both ways of starting share. The program is looked for as late as can be. Before 0.12 `cmd`
-- is not told the root; before 0.11 it is known here.
local function client_config(known_root)
  local settings = config.get().settings
  return {
    name = M.NAME,
    cmd = function(dispatchers, resolved)
      local root = resolved and resolved.root_dir or known_root or M.root(0)
      local command, why = M.find(root)
      assert(command, why)
      started_at = vim.uv.now() / 1000
      return vim.lsp.rpc.start(command, dispatchers, { cwd = root })
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
      require('infill_ls.ghost_text').adopt(client)
    end,
    on_attach = function(client, bufnr)
      watch(bufnr)
      require('infill_ls.ghost_text').attach(client, bufnr)
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
  vim.lsp.start(own, { bufnr = bufnr })
end

-- Starts the server for every buffer that is open, and for those to come.
function M.start()
  stopping = false
  listen_again()
  if vim.lsp.enable then
    local own = client_config()
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

function M.stop()
  stopping = true
  restarts = 0
  pcall(vim.api.nvim_del_augroup_by_name, 'infill_ls.start')
  if vim.lsp.enable then
    vim.lsp.enable(M.NAME, false)
  end
  for _, client in ipairs(M.clients()) do
    M.call(client, 'stop')
  end
end

function M.restart()
  M.stop()
  told = {}
  -- A client that is still going down would be taken for the one to use.
  local tries = 0
  local function when_gone()
    tries = tries + 1
    if #M.clients() > 0 and tries < 50 then
      vim.defer_fn(when_gone, 100)
    else
      M.start()
    end
  end
  when_gone()
end

return M
