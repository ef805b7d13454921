"""What the features of a vision transformer tell apart: as pictures, and as figures of content and style."""
