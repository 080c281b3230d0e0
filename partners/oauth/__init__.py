"""OAuth 2: who may have a token, and what a token says."""
