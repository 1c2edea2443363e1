"""Classification by the names of classes: names, prompts, their scores, and what they tell."""
