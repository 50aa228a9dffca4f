"""The autoregressive baseline: the two-sided network's forward stream alone, from left to right.

It is the yardstick of the embedded default: the same network, weights of the same shapes, the same
tokenizer and the same windows, but one stream, one token after another. A text is read as
[bos, language, suffix…, eos, prefix…, middle…, end] (SPM order), so that typing pushes to its cache
and only an edit behind the cursor costs a new reading. From the last token before the cursor on,
tokens are read with the canvas's stream embedding: that is how the network knows where it writes.
What stands elsewhere after the same tokens is guessed and verified in one pass (prompt
lookup), which changes the speed of an answer and never the answer.
"""
