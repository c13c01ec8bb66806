"""Networks and data sets that were handed over in this process, as attributes."""
