"""The program that DeepSpeed launches once for each slot."""
