-- The configuration under test: nothing but the plugin, with the options the test hands over.
vim.o.swapfile = false
vim.o.shortmess = vim.o.shortmess .. 'I'
vim.o.more = false
vim.o.cmdheight = 4 -- or a long message would wait for a key
vim.cmd('filetype plugin on')
vim.g.keys_typed = 0
vim.keymap.set({ 'n', 'i', 'x' }, '<F20>', '<Cmd>let g:keys_typed += 1<CR>')
vim.opt.runtimepath:prepend(vim.env.INFILL_PLUGIN)
require('infill_ls').setup(vim.json.decode(vim.env.INFILL_OPTIONS))
vim.o.statusline = " %t %m%=%{v:lua.require'infill_ls'.status()} "
