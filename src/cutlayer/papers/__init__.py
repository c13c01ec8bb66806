"""Published results as data, and the runs that regenerate them side by side."""
