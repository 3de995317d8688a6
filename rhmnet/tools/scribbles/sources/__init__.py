"""Where masks come from: COCO instances, and label maps of videos or single images.

Each source is listed as jobs. A job is small and travels to a worker process, which reads it as
scenes: dense label maps with what a hand must know to scribble on them.
"""
