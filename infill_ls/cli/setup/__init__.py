"""`infill-ls setup`: what the editors of this user need to start the server, written for them.

    places ─► editors (one function each) ─► Plan ─► shown, asked for, carried out ─► record
                                                                     --undo ◄────────────┘

An editor's configuration is somebody's own work: what is there stays, what cannot be read is left
alone with a sentence, and every line that was added can be taken back.
"""
