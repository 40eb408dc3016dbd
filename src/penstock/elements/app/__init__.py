"""Elements that look into what applications say to each other."""
