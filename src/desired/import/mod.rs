//! Readers of other programs' configuration.
