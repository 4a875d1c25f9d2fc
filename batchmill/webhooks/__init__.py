"""Webhooks: what is posted to the owner's and the producers' own servers, signed, and where it may go."""
