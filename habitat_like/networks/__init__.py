"""Networks: other systems' protocols, whose stations upload here. One file or folder each."""
