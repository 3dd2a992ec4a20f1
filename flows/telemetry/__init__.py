"""Events of a run, and the listeners that show, log or count them."""
