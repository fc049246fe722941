"""synthgap measures the gap between synthetic and real training images."""

__version__ = "0.1.0"
