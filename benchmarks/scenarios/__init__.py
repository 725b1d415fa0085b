"""Load tests that start servers and measure them."""
