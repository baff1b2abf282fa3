"""What happens when networks fail and clients misbehave, against the function as a real server."""
