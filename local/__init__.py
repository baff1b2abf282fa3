"""The local stack: the function as deployed, on a real Firestore emulator, with sample calls."""
