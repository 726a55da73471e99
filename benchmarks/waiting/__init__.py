"""The parts of the triggerer benchmark."""
