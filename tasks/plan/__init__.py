"""From a recipe and a lake to a plan: a value that can be printed and run."""
