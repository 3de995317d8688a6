"""Clips made of stills: objects cut out of some move over others, seen by a moving camera."""

from rhmnet.tools.clips.write import Recipe, write_clips

__all__ = ["Recipe", "write_clips"]
