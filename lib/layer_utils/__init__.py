"""The weightless layers of the paper, one file each."""
