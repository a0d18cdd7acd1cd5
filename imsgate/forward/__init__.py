"""``egg:imsgate#forward``: passes requests on to another image service, and its responses back."""
