//! The virtual machine monitor protection domain.
