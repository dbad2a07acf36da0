"""Writing the package of a new family."""
