"""What is deployed beside `main.py`: the rules of the API, and its adapters to Google Cloud."""
