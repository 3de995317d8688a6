"""Files that hold strokes as lines: DAVIS' interactive JSON, labelme, SVG.

Each module has `read(path) -> Drawing` and `write(path, drawing)`.
"""
