"""When: the time ranges of a video that a recipe asks for, and the spans that store them."""
