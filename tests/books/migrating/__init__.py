"""The books change their version while servers use them."""
