"""Fill-in-the-middle over HTTP: the second thing that editors' plugins speak, beside LSP."""
