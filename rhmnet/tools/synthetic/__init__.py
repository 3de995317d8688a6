"""Data that the project makes itself: creatures that swim over textured grounds."""

from rhmnet.tools.synthetic.trees import SIZES, write_trees

__all__ = ["SIZES", "write_trees"]
