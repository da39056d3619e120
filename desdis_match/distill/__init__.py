"""Training of patch descriptors: losses, patch data, augmentation, the loop, and what it exports."""
