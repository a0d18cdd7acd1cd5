"""How image data moves into stores and out of them."""
