"""What operates the function in the cloud; none of it is deployed."""
