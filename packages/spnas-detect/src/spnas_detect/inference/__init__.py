"""What a trained detector is for: detecting in images, and being scored."""
