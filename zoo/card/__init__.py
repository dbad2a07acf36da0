"""A card is a folder: its files, its facts, its weights."""
