-- :checkhealth infill_ls: what is found, what runs, and what to do about what is missing.
local config = require('infill_ls.config')
local find = require('infill_ls.find')
local server = require('infill_ls.server')
local status = require('infill_ls.status')

local M = {}

local function check_neovim()
  local v = vim.version()
  vim.health.start('Neovim')
  vim.health.ok(('%d.%d.%d'):format(v.major, v.minor, v.patch))
  if config.use_native() then
    vim.health.info('ghost text: Neovim’s own (vim.lsp.inline_completion)')
  else
    vim.health.info('ghost text: the plugin’s, for Neovim before 0.12 or with ghost = "own"')
  end
end

local function check_server()
  vim.health.start('Server')
  local command, where = find.server(server.root(0))
  if not command then
    vim.health.error(where)
    return
  end
  vim.health.ok(('%s, from %s'):format(table.concat(command, ' '), where))
  local asked = vim.list_extend(vim.deepcopy(command), { '--version' })
  local ran, result = pcall(function()
    return vim.system(asked, { text = true, cwd = find.cwd() }):wait(20000)
  end)
  if ran and result.code == 0 then
    vim.health.ok(vim.trim(result.stdout))
  else
    local why = ran and vim.trim((result.stderr or '') .. ' exit code ' .. result.code) or result
    vim.health.error('it does not run: ' .. why, { 'Run it in a shell: infill-ls --version' })
  end
  local settings = config.get().settings
  local names = vim.tbl_keys(settings)
  table.sort(names)
  for _, name in ipairs(names) do
    vim.health.info(('setting %s: %s'):format(name, vim.inspect(settings[name])))
  end
end

local function check_clients()
  vim.health.start('Running')
  if not require('infill_ls').is_set_up() then
    vim.health.warn('the plugin is not set up', { "require('infill_ls').setup()" })
    return
  end
  local clients = server.clients()
  if #clients == 0 then
    vim.health.info('no server runs; it starts with the first file')
  end
  for _, client in ipairs(clients) do
    local number = vim.tbl_count(client.attached_buffers or {})
    vim.health.ok(
      ('client %d, %s, %d buffers, root %s'):format(
        client.id,
        client.offset_encoding,
        number,
        client.root_dir or 'none'
      )
    )
  end
  local now = status.get()
  if now.state == 'error' then
    vim.health.error(now.message, { ':Infill doctor says more' })
  else
    vim.health.info('state: ' .. now.state .. (now.message ~= '' and ': ' .. now.message or ''))
  end
end

-- Two plugins that draw ghost text draw over each other.
local function check_others()
  vim.health.start('Others')
  local found = false
  for _, client in ipairs(vim.lsp.get_clients()) do
    local capabilities = client.server_capabilities or {}
    if client.name ~= server.NAME and capabilities.inlineCompletionProvider then
      found = true
      vim.health.warn(client.name .. ' suggests inline as well; disable one of the two')
    end
  end
  for _, module in ipairs({ 'copilot', 'supermaven-nvim', 'codeium' }) do
    if package.loaded[module] then
      found = true
      vim.health.warn(module .. ' is loaded and draws ghost text as well; disable one of the two')
    end
  end
  if not found then
    vim.health.ok('nothing else draws ghost text')
  end
end

local function check_keys()
  vim.health.start('Keys')
  local mode_of = require('infill_ls.keymaps').mode_of
  for action, key in pairs(config.get().keymaps) do
    local map = key and vim.fn.maparg(key, mode_of(action), false, true) or {}
    if not key or key == '' then
      vim.health.info(action .. ': none')
    elseif vim.startswith(map.desc or '', 'infill: ') then
      vim.health.ok(('%s: %s'):format(action, key))
    else
      local advice = ("keymaps = { %s = '<another key>' }"):format(action)
      vim.health.warn(('%s: %s is mapped by something else'):format(action, key), { advice })
    end
  end
  local tab = config.get().tab and 'accepts while ghost text is shown' or 'is left alone'
  vim.health.info('<Tab> ' .. tab)
end

function M.check()
  check_neovim()
  check_server()
  check_clients()
  check_keys()
  check_others()
end

return M
