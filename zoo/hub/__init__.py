"""Where cards come from and go to."""
