"""To and from other programs' files: COLMAP databases and text, nerfstudio, Bundler, VisualSFM."""
