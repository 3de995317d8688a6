"""Your own video: from a video and strokes on some of its frames to masks of all frames.

Everything is streamed: a frame is read, tracked and written while its neighbours are in threads.
"""

from rhmnet.files.source import Source
from rhmnet.tools.segment.session import Session

__all__ = ["Session", "Source"]
