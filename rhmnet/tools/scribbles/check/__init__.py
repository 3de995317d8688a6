"""Check trees of scribbles, file by file: what is wrong with them, and how to mend it."""
