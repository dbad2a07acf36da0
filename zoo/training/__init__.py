"""From a recipe to a card."""
