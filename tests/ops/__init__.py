"""What operates the function: its deployment and its tools."""
