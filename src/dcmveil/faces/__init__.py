"""Ways of getting bytes in and out. Each drives a session; none knows a profile or a key."""
