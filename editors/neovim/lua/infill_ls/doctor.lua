-- :Infill doctor: what runs here and how fast, with the model that the editor uses.
local config = require('infill_ls.config')
local find = require('infill_ls.find')

local M = {}

-- The settings that say which model runs and how; each is an option of the command line.
local function of_the_model(name)
  return vim.tbl_contains({ 'model', 'device', 'dtype', 'threads' }, name)
    or vim.startswith(name, 'remote')
end

function M.arguments(settings)
  local given = { 'doctor' }
  for name, value in vim.spairs(settings) do
    if of_the_model(name) then
      local option = '--' .. name:gsub('%u', function(letter)
        return '-' .. letter:lower()
      end)
      if value == true then
        given[#given + 1] = option
      elseif type(value) == 'number' or (type(value) == 'string' and value ~= '') then
        vim.list_extend(given, { option, tostring(value) })
      end
    end
  end
  return given
end

local function show(text)
  vim.cmd('botright new')
  vim.bo.buftype = 'nofile'
  vim.bo.bufhidden = 'wipe'
  vim.bo.swapfile = false
  vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.split(vim.trim(text), '\n'))
  vim.bo.modifiable = false
end

function M.run()
  local command, why = find.server(require('infill_ls.server').root(0))
  if not command then
    vim.notify('infill_ls: ' .. why, vim.log.levels.WARN)
    return
  end
  vim.list_extend(command, M.arguments(config.get().settings))
  vim.notify('infill_ls: examining this machine')
  vim.system(command, { text = true, cwd = find.cwd() }, function(result)
    vim.schedule(function()
      show((result.stdout or '') .. (result.stderr or ''))
    end)
  end)
end

return M
