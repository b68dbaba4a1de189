//! waypoint/translate
