"""What did the cost function change? Trained runs side by side, in figures and in numbers."""
