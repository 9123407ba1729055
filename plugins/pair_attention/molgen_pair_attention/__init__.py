"""The encoder `pair-attention`: attention between all atoms, biased by what is known of each pair."""
