"""Who it is: five points on a face, the face turned upright, its embedding, and a gallery of known persons."""
