"""The servers that the function is compared with, each as it would be deployed."""
