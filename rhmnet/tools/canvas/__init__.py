"""The canvas: strokes drawn in a browser, masks of the whole video.

canvas_command starts a server, request_guard refuses what is not the page's, web_api answers,
workspace keeps the open video with the thread that owns the network, transfers brings strokes in
and results out. `static/` holds the page. What is computed is the engine's (tools/segment).
"""
