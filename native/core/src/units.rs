//! Newtypes for numbers that must not be mixed.
