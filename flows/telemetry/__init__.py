"""What a run says while it goes on: events, and the listeners that show, log or count them."""
