"""Firestore: keys and calls, as the rules ask for them."""
