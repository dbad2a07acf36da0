"""Figures of a card, and what they are measured with."""
