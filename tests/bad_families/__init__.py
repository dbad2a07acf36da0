"""Small families that break one law each. This file imports nothing, as listing a family demands."""
