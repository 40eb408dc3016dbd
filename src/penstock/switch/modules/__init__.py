"""The modules that come with the switch, one file each; they are found by looking in this folder."""
