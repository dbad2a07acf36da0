"""A new plugin's first files."""
