"""The tutorial-style function in Python."""
