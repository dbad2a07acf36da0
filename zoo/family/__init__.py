"""What a plugin says of its family, and who said it."""
