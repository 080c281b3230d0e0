"""A statement as the files that finance people load elsewhere; each format is written piece by piece."""
