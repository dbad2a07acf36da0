"""Finding cards, here and on the Hub, and sending them there."""
