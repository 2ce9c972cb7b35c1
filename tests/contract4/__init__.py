"""What a fourth hostile reading of the public contract found."""
