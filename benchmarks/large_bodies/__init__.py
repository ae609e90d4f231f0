"""Large bodies: for how long each kind stops the event loop, and delays another user."""
