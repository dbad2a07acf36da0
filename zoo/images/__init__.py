"""Reading and writing pictures. All values are in [0, 1]."""
