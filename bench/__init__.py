"""What `make bench` runs: the function beside what it could have been, under the same load."""
