"""What limits the requests of a key: rules that are checked, and counts that a hold takes from."""
