"""How an answer is made: `fast`, `single`, `multi`, and the pure choice between them."""
