"""Figures of a card: how they are measured, recorded and verified."""
