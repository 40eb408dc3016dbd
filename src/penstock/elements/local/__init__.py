"""Click's group 'local': headers that look good, for tests, and small things."""
