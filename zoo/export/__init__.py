"""A model outside of Python's torch: its methods as graphs, what runs them, and a folder of them for others to run."""
