"""The page that a run leaves behind: figures and pictures in one HTML file."""
