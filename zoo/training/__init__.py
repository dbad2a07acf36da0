"""Training: from a recipe to a card."""
