DISTRIBUTION = "genzoo"  # also the Hub's library_name
__version__ = "0.1.0"
