"""Files over the network: resumed, checked, unpacked with care."""
