"""Image matching and 3-D reconstruction around DesDis, distilled local descriptors."""

__version__ = "0.2.0"
