"""What the user types: one small file for each verb, and `main`, which puts the rooms together. Nothing imports it."""
