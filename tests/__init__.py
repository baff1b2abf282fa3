"""What must be true of the function, its local stack and its papers."""
