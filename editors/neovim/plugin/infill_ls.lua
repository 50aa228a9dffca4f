-- Makes the plugin work without any set-up, unless setup() was called or vim.g.infill_ls is false.
if vim.g.loaded_infill_ls then
  return
end
vim.g.loaded_infill_ls = true

if vim.fn.has('nvim-0.10') == 0 then
  vim.notify('infill_ls needs Neovim 0.10 or later', vim.log.levels.WARN)
  return
end

vim.api.nvim_create_user_command('Infill', function(command)
  require('infill_ls.command').run(command)
end, {
  range = true,
  nargs = '?',
  complete = function(lead)
    return require('infill_ls.command').complete(lead)
  end,
  desc = 'Infill the range, or at the cursor; or: doctor, explain, forget, restart, snooze, start, '
    .. 'stats, status, stop, trust, wake',
})

local function begin()
  if vim.g.infill_ls ~= false and not require('infill_ls').is_set_up() then
    require('infill_ls').setup(type(vim.g.infill_ls) == 'table' and vim.g.infill_ls or {})
  end
end

-- After the user's configuration, which may call setup() itself.
if vim.v.vim_did_enter == 1 then
  vim.schedule(begin)
else
  vim.api.nvim_create_autocmd('VimEnter', { once = true, callback = begin })
end
