"""Networks: protocols of other systems whose stations upload here. One file or folder each."""
