"""How image data travels into stores and out of them."""
