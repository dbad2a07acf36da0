"""Images of a data set, decoded and in batches."""
