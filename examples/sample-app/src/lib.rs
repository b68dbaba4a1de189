//! examples/sample-app
