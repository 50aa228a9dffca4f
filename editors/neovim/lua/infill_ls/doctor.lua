-- :Infill doctor: what runs here and how fast, with the model that the editor uses.
local command_line = require('infill_ls.command_line')
local find = require('infill_ls.find')

local M = {}

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
  vim.notify('infill_ls: examining this machine')
  vim.system(command_line.to_examine(command), { text = true, cwd = find.cwd() }, function(result)
    vim.schedule(function()
      show((result.stdout or '') .. (result.stderr or ''))
    end)
  end)
end

return M
