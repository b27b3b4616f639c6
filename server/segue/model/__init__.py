"""What a conversation is made of. Imports nothing else of Segue."""
