//! Feature flags, in OpenFeature's terms.
