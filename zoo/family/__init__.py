"""The families: what plugins say about them, and which are installed."""
