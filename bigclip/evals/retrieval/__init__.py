"""Image to text and text to image, and whether another wording finds the same."""
