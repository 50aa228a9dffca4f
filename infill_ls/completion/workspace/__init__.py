"""What the other files of the workspace say: found in the background, looked up in no time.

    files.py      which files there are, and their texts: nothing ignored, nothing secret
    imports.py    which of them a file imports, by their paths
    index.py      their identifiers, and which files are like what is typed
    reading.py    all files read, and what of them a place gets
    memory.py     the thread that does that, and what it did for each place

Nothing is written anywhere.
"""
