"""Tests of the Firebase Emulator Suite, apart from the others: they need Node.js and its CLI."""
