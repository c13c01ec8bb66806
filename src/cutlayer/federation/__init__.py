"""Split training and prediction between real parties, each in a process of its own."""
