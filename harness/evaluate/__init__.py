"""What a trained network is worth and what a forward pass costs."""
