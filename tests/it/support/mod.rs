//! The service, started in the test, and clients for it.
