"""Mail: how one is headed, and how it is handed in to a server."""
