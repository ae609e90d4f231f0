"""What requests and responses refer to of the objects that the upstream stores."""
